/** The suite on simulated disks. */
import t from 'tap';
import { simulatedRig } from './rig.js';
import { storageSuite } from './suite.js';

void t.test('on simulated disks', (t) => {
  storageSuite(t, simulatedRig);
});
