/**
 * What an operator can set for a pool: names, units, bounds, defaults. Settings stand in the pool definition and, since the disks must carry
 * all that `import` needs, as rows of the index; the definition wins, as it can be changed while the pool is not mounted.
 */
import { z } from 'zod';
import { OperatingError } from '../base/errors.js';
import { KiB, MiB, GiB, READ_CACHE_BYTES_MAX, UPLOAD_BYTES_MAX } from '../base/limits.js';

const COMMIT_INTERVAL_MS_MIN = 50;
const COMMIT_INTERVAL_MS_MAX = 60_000;
const CACHE_BYTES_MIN = 1 * MiB;
const UPLOAD_BYTES_MIN = 16 * MiB;
const MEMORY_BYTES_MAX = 16 * GiB;
const HOUR_MS = 3_600_000;
const SNAPSHOT_INTERVAL_MS_MIN = HOUR_MS / 6;
const SNAPSHOT_INTERVAL_MS_MAX = 24 * 365 * HOUR_MS;
const SNAPSHOT_KEEP_MAX = 1000;

/** As stored; what is not set has its default. Unknown keys of a newer version are refused, not dropped. */
export const settingsSchema = z.strictObject({
  durability: z.enum(['interval', 'close']).optional(),
  commitIntervalMs: z.number().int().min(COMMIT_INTERVAL_MS_MIN).max(COMMIT_INTERVAL_MS_MAX).optional(),
  readCacheBytes: z.number().int().min(CACHE_BYTES_MIN).max(MEMORY_BYTES_MAX).optional(),
  uploadMemoryBytes: z.number().int().min(UPLOAD_BYTES_MIN).max(MEMORY_BYTES_MAX).optional(),
  snapshotIntervalMs: z.number().int().min(SNAPSHOT_INTERVAL_MS_MIN).max(SNAPSHOT_INTERVAL_MS_MAX).optional(),
  snapshotKeep: z.number().int().min(1).max(SNAPSHOT_KEEP_MAX).optional(),
});

export type StoredSettings = z.infer<typeof settingsSchema>;

/** All settings, with defaults filled in. */
export type Settings = { readonly [Key in keyof StoredSettings]-?: NonNullable<StoredSettings[Key]> };

export const defaultSettings: Settings = {
  durability: 'interval',
  commitIntervalMs: 1000,
  readCacheBytes: READ_CACHE_BYTES_MAX,
  uploadMemoryBytes: UPLOAD_BYTES_MAX,
  snapshotIntervalMs: 24 * HOUR_MS,
  snapshotKeep: 7,
};

export function effectiveSettings(stored: StoredSettings): Settings {
  return { ...defaultSettings, ...stored };
}

/** One setting as the operator sees it. */
export interface SettingKey {
  readonly key: string;
  readonly field: keyof Settings;
  readonly summary: string;
  readonly values: string;
  /** Takes effect on a mounted pool at once. */
  readonly live: boolean;
  parse(text: string): StoredSettings;
  format(settings: Settings): string;
}

const durationMs = (text: string): number | undefined => {
  const match = /^(\d+(?:\.\d+)?)(ms|s|min|h|d)?$/.exec(text);
  if (match === null) return undefined;
  return Math.round(
    Number(match[1]) * { ms: 1, s: 1000, min: 60_000, h: HOUR_MS, d: 24 * HOUR_MS }[(match[2] ?? 's') as 'ms' | 's' | 'min' | 'h' | 'd'],
  );
};

/** A size as people give it: 512, 64K, 1.5GiB, 2tb. undefined: it is none. */
export const sizeBytes = (text: string): number | undefined => {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgtp])(?:i?b)?|b)?$/i.exec(text);
  if (match === null) return undefined;
  const units = { k: KiB, m: MiB, g: GiB, t: 1024 * GiB, p: 1024 * 1024 * GiB, '': 1 };
  const unit = units[(match[2] ?? '').toLowerCase() as keyof typeof units];
  return Math.round(Number(match[1]) * unit);
};

const formatSize = (bytes: number): string =>
  bytes % MiB === 0 ? `${bytes / MiB}MiB` : bytes % KiB === 0 ? `${bytes / KiB}KiB` : `${bytes}`;

function refuse(key: SettingKey, text: string): never {
  throw new OperatingError('EINVAL', `"${text}" is not a value of ${key.key}`, { hint: `Give ${key.values}.` });
}

function checked(key: SettingKey, text: string, value: unknown): StoredSettings {
  const parsed = settingsSchema.safeParse({ [key.field]: value });
  return parsed.success && value !== undefined ? parsed.data : refuse(key, text);
}

export const settingKeys: readonly SettingKey[] = [
  {
    key: 'durability',
    field: 'durability',
    summary: 'when close and rename return: once safe from the death of the daemon (interval), or once on the disks (close)',
    values: 'interval or close',
    live: true,
    parse(text) {
      return checked(this, text, text);
    },
    format: (settings) => settings.durability,
  },
  {
    key: 'commit-interval',
    field: 'commitIntervalMs',
    summary: 'how long what is committed may wait for the disks when nobody asks',
    values: 'a time from 50ms to 60s, such as 500ms or 2s',
    live: true,
    parse(text) {
      return checked(this, text, durationMs(text));
    },
    format: ({ commitIntervalMs }) => (commitIntervalMs % 1000 === 0 ? `${commitIntervalMs / 1000}s` : `${commitIntervalMs}ms`),
  },
  {
    key: 'read-cache',
    field: 'readCacheBytes',
    summary: 'memory for file contents that were read or are read ahead',
    values: 'a size from 1MiB to 16GiB',
    live: true,
    parse(text) {
      return checked(this, text, sizeBytes(text));
    },
    format: (settings) => formatSize(settings.readCacheBytes),
  },
  {
    key: 'upload-memory',
    field: 'uploadMemoryBytes',
    summary: 'memory for written data that is not on the disks yet',
    values: 'a size from 16MiB to 16GiB',
    live: false,
    parse(text) {
      return checked(this, text, sizeBytes(text));
    },
    format: (settings) => formatSize(settings.uploadMemoryBytes),
  },
  {
    key: 'snapshot-interval',
    field: 'snapshotIntervalMs',
    summary: 'how often a snapshot of the index is put on the disks',
    values: 'a time from 10min to 365d, such as 6h or 1d',
    live: true,
    parse(text) {
      return checked(this, text, durationMs(text));
    },
    format: ({ snapshotIntervalMs }) =>
      snapshotIntervalMs % HOUR_MS === 0 ? `${snapshotIntervalMs / HOUR_MS}h` : `${snapshotIntervalMs}ms`,
  },
  {
    key: 'snapshot-keep',
    field: 'snapshotKeep',
    summary: 'how many snapshots of the index each disk keeps',
    values: 'a number from 1 to 1000',
    live: true,
    parse(text) {
      return checked(this, text, /^\d+$/.test(text) ? Number(text) : undefined);
    },
    format: (settings) => String(settings.snapshotKeep),
  },
];

/** @throws OperatingError EINVAL that lists the keys there are. */
export function settingKey(name: string): SettingKey {
  const found = settingKeys.find((key) => key.key === name);
  if (found === undefined)
    throw new OperatingError('EINVAL', `there is no setting "${name}"`, {
      hint: `Settings are ${settingKeys.map((key) => key.key).join(', ')}.`,
    });
  return found;
}
