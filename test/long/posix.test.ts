/** The whole conformance suite, on ext4 and on Ostraka. */
import t from 'tap';
import { onExt4, onOstraka } from '../posix/conformance.js';
import { cannotRun } from '../posix/targets.js';

const skip = await cannotRun();
t.test('ext4', { skip }, async (t) => {
  const cases = await onExt4(t, 1);
  t.ok(cases >= 2000, `${cases} cases`);
});
t.test('Ostraka', { skip }, async (t) => {
  const cases = await onOstraka(t, 1);
  t.ok(cases >= 2000, `${cases} cases`);
});
