/** The whole conformance suite on a mount by the package fuse-native. */
import t from 'tap';
import { onOstraka } from '../posix/conformance.js';
import { cannotRun } from '../posix/targets.js';

const skip = await cannotRun();
t.test('fuse-native', { skip }, async (t) => {
  const cases = await onOstraka(t, 1, 'fuse-native');
  t.ok(cases >= 2000, `${cases} cases`);
});
