/** The suite on directories of this machine, with native I/O. */
import t from 'tap';
import { nativeRig } from './rig.js';
import { storageSuite } from './suite.js';

void t.test('on real directories', (t) => {
  storageSuite(t, nativeRig);
});
