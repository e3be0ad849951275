/**
 * Settings of an open pool. They stand in the pool definition (which can be changed while the pool is not mounted) and in rows of the index (so that
 * the disks carry them to another machine). What the definition says wins; what it does not say is taken from the index.
 */
import type { IndexStore } from '../index/index-store.js';
import { decodeSetting, encodeSetting, parseSettingKey, settingKey as rowKey, settingRange } from '../index/schema/pool-rows.js';
import type { Log } from './logger.js';
import { effectiveSettings, settingKeys, type StoredSettings } from './settings.js';

const ROWS_MAX = 256;

/** Settings as the index has them. Rows that this version does not know, or cannot read, stay as they are. */
export async function storedInIndex(index: IndexStore, log: Log): Promise<StoredSettings> {
  const settings: StoredSettings = {};
  for (const { key, value } of await index.scan(settingRange(ROWS_MAX))) {
    const name = parseSettingKey(key);
    try {
      Object.assign(settings, settingKeys.find((each) => each.key === name)?.parse(decodeSetting(value)));
    } catch (error) {
      log('warn', `the setting ${name} in the index cannot be used`, { error: String(error) });
    }
  }
  return settings;
}

/** Writes those settings whose rows differ. */
export async function storeInIndex(index: IndexStore, settings: StoredSettings): Promise<void> {
  const effective = effectiveSettings(settings);
  const rows = settingKeys
    .filter(({ field }) => settings[field] !== undefined)
    .map((key) => ({ key: rowKey(key.key), value: encodeSetting(key.format(effective)) }));
  await index.transact(async (tx) => {
    for (const { key, value } of rows) if ((await tx.get(key))?.equals(value) !== true) tx.put(key, value);
  });
}
