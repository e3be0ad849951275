/** What disks answer when something goes wrong. */
import { OperatingError } from '../../src/base/errors.js';

/** The operating error with which `work` fails. */
export async function failure(work: Promise<unknown>): Promise<OperatingError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof OperatingError) return error;
    throw error;
  }
  throw new Error('did not fail');
}
