/** What every verb works with. */
import type { Folders } from '../daemon/folders.js';
import type { Output } from './output.js';

export interface Context {
  readonly folders: Folders;
  readonly output: Output;
}
