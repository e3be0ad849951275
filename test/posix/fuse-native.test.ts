/** A part of the conformance suite on a mount by the package fuse-native; test/long/posix-fuse-native.test.ts runs all of it. */
import t from 'tap';
import { onOstraka } from './conformance.js';
import { cannotRun } from './targets.js';

/** Of what is made by rule. */
const EVERY = 40;

t.test('fuse-native', { skip: await cannotRun() }, async (t) => {
  t.ok((await onOstraka(t, EVERY, 'fuse-native')) > 500);
});
