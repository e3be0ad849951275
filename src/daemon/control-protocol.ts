/**
 * What the command and the daemon of a pool say to each other over the daemon's socket: one JSON object a line, one answer for each request, in
 * order. Also how an operating error travels between processes.
 */
import { z } from 'zod';
import { OperatingError, type ErrnoName } from '../base/errors.js';
import { settingsSchema } from './settings.js';

/** A request or answer longer than this ends the connection. Status of 256 disks takes about 100 KiB. */
export const CONTROL_LINE_BYTES_MAX = 1024 * 1024;
/** Connections that one daemon serves at a time: commands by hand and a monitor or two. */
export const CONTROL_CONNECTIONS_MAX = 32;

const inoSchema = z.number().int().min(1);
const limitSchema = z
  .number()
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER - 1)
  .nullable()
  .optional();

export const requestSchema = z.discriminatedUnion('verb', [
  /** → StatusReport */
  z.strictObject({ verb: z.literal('status') }),
  /** → { paths }: files, by path below the mount point, whose writers may have unsaved pages in the kernel. */
  z.strictObject({ verb: z.literal('writers') }),
  /** Where an inode's content is. → WhereAnswer: a page from the offset `from` on. */
  z.strictObject({ verb: z.literal('where'), ino: z.number().int().min(1), from: z.number().int().min(0) }),
  /** Commits and makes durable everything that has reached the daemon. → {} */
  z.strictObject({ verb: z.literal('sync') }),
  /** Takes over changed settings. → { pending }: those that wait for the next mount. */
  z.strictObject({ verb: z.literal('settings'), settings: settingsSchema }),
  /** Of a pool that is open without a mount: its starter needs it no more. → { stays }: others are connected; it ends when they are gone. */
  z.strictObject({ verb: z.literal('release') }),
  /** Long-running jobs: scrub, heal, drain and the like. → JobAnswer: how it stands after that. */
  z.strictObject({
    verb: z.literal('job'),
    kind: z.string(),
    action: z.enum(['start', 'pause', 'resume', 'cancel', 'status']),
    options: z.record(z.string(), z.unknown()).optional(),
  }),
  /** What the last check found. → { findings, total }: a page of the list from there on. */
  z.strictObject({ verb: z.literal('findings'), list: z.enum(['found', 'steps', 'repaired', 'left']), from: z.number().int().min(0) }),
  /** Makes an empty directory one more disk. → DiskAnswer */
  z.strictObject({ verb: z.literal('disk-add'), directory: z.string(), zone: z.string().nullable() }),
  /** Begins (`on`) to move what a disk holds to the others, or ends that. `disk`: its path, number or the beginning of its id. → DiskAnswer */
  z.strictObject({ verb: z.literal('disk-drain'), disk: z.string(), on: z.boolean() }),
  /** A new disk for an old one. → DiskAnswer: the new one */
  z.strictObject({ verb: z.literal('disk-replace'), disk: z.string(), directory: z.string(), force: z.boolean() }),
  /** Takes a disk out for good. → DiskAnswer */
  z.strictObject({ verb: z.literal('disk-remove'), disk: z.string(), force: z.boolean() }),
  /** Limits what is below a directory; null: no limit, not given: as it is. → QuotaAnswer: as quota-show */
  z.strictObject({ verb: z.literal('quota-set'), ino: inoSchema, bytes: limitSchema, inodes: limitSchema }),
  /** Takes a directory's own quota away. → QuotaAnswer: empty */
  z.strictObject({ verb: z.literal('quota-clear'), ino: inoSchema }),
  /** The quotas that something counts in, the innermost first. → QuotaAnswer */
  z.strictObject({ verb: z.literal('quota-show'), ino: inoSchema }),
  /** All quotas, a page of them from there on. → QuotaAnswer */
  z.strictObject({ verb: z.literal('quota-list'), from: z.number().int().min(0) }),
  /** How far a stop is, while it goes on, over a connection that was there before. → StopProgress */
  z.strictObject({ verb: z.literal('stop-progress') }),
  /** Unmounts (`lazy`: also when busy), makes everything durable, ends. → {} just before the process exits. */
  z.strictObject({ verb: z.literal('stop'), lazy: z.boolean() }),
]);

/** A stop that is under way, and what is left to be written. */
export interface StopProgress {
  /** serving: no stop was asked for; unmounting: the kernel writes back what it holds; closing: what was written is made durable. */
  readonly step: 'serving' | 'unmounting' | 'closing';
  /** Written by programs, not stored yet. Of what the kernel holds nobody knows. */
  readonly dirty_bytes: number;
  /** Stored, and waiting for a sync. */
  readonly unsynced_bytes: number;
  /** Changes of the index that are not durable. */
  readonly changes: number;
  /** Disks that have not answered for a while, by path. */
  readonly late_disks: readonly string[];
}

export type ControlRequest = z.infer<typeof requestSchema>;

export const errorSchema = z.object({
  code: z.string(),
  message: z.string(),
  disk: z.string().optional(),
  path: z.string().optional(),
  hint: z.string().optional(),
});

/** An operating error as it travels. */
export type ErrorMessage = z.infer<typeof errorSchema>;

export const answerSchema = z.union([z.object({ ok: z.unknown() }), z.object({ error: errorSchema })]);

export type ControlAnswer = z.infer<typeof answerSchema>;

export function errorMessage(error: OperatingError): ErrorMessage {
  const { code, message, disk, path, hint } = error;
  return { code, message, ...(disk !== undefined && { disk }), ...(path !== undefined && { path }), ...(hint !== undefined && { hint }) };
}

export function errorFrom(message: ErrorMessage): OperatingError {
  const { code, message: text, ...detail } = message;
  return new OperatingError(code as ErrnoName, text, detail);
}
