/** Upload and part rows: what a daemon's death in the middle of an upload leaves for the next one to clean up (I10). A part is one reference. */
import { CHANGE_STEP_ROWS } from '../base/limits.js';
import { parsePartKey, partKey, partRange, uploadKey } from '../index/schema/tables.js';
import { encodeNumber, encodeUpload } from '../index/schema/work-rows.js';
import type { Change } from './change.js';
import type { Ledger } from './ledger.js';

/** Records a stored blob as a part of an upload. */
export function putPart(change: Change, upload: number, session: number, ino: number, blob: number): void {
  change.bear(blob);
  change.addReferences(blob, 1);
  change.tx.put(uploadKey(upload), encodeUpload({ session, ino }));
  change.tx.put(partKey(upload, blob), encodeNumber(0));
}

/** Ends an upload's hold on its parts, CHANGE_STEP_ROWS at most. Resolves true when it is gone. */
export async function dropParts(change: Change, upload: number): Promise<boolean> {
  const rows = await change.tx.scan(partRange(upload, CHANGE_STEP_ROWS));
  for (const { key } of rows) {
    change.tx.delete(key);
    change.addReferences(parsePartKey(key).blob, -1);
  }
  const done = rows.length < CHANGE_STEP_ROWS;
  if (done) change.tx.delete(uploadKey(upload));
  return done;
}

/** Abort, owner died: the upload goes, what only it referred to is queued for the collector. */
export async function abortUpload(ledger: Ledger, upload: number): Promise<void> {
  for (let done = false; !done;) done = (await ledger.change((change) => dropParts(change, upload))).value;
}
