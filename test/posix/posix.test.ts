/** A part of the conformance suite; test/long/posix.test.ts runs all of it. */
import t from 'tap';
import { onExt4, onOstraka } from './conformance.js';
import { cannotRun } from './targets.js';

/** Of what is made by rule. */
const EVERY = 40;

const skip = await cannotRun();
t.test('ext4', { skip }, async (t) => {
  t.ok((await onExt4(t, EVERY)) > 500);
});
t.test('Ostraka', { skip }, async (t) => {
  t.ok((await onOstraka(t, EVERY)) > 500);
});
