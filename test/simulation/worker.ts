/** A process that runs the histories which it is sent, one after the other (workers.ts). */
import { run } from './driver.js';
import type { History } from './history.js';

process.on('message', (history: History) => {
  void run(history).then((result) => process.send?.(result));
});
