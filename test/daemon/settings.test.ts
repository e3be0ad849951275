/** Settings: what can be given and how it is shown. */
import t from 'tap';
import { defaultSettings, effectiveSettings, settingKey, settingKeys } from '../../src/daemon/settings.js';

t.test('values', async (t) => {
  const parse = (key: string, text: string) => settingKey(key).parse(text);
  t.same(parse('durability', 'close'), { durability: 'close' });
  t.same(parse('commit-interval', '500ms'), { commitIntervalMs: 500 });
  t.same(parse('commit-interval', '2'), { commitIntervalMs: 2000 });
  t.same(parse('commit-interval', '1.5s'), { commitIntervalMs: 1500 });
  t.same(parse('read-cache', '64M'), { readCacheBytes: 64 * 1024 ** 2 });
  t.same(parse('read-cache', '1GiB'), { readCacheBytes: 1024 ** 3 });
  t.same(parse('upload-memory', '33554432'), { uploadMemoryBytes: 32 * 1024 ** 2 });
  for (const [key, text] of [
    ['durability', 'always'],
    ['commit-interval', '1ms'],
    ['commit-interval', '1h'],
    ['commit-interval', ''],
    ['read-cache', '-1M'],
    ['read-cache', '1K'],
    ['upload-memory', '1TiB'],
  ] as const)
    t.throws(() => parse(key, text), { code: 'EINVAL' }, `${key}=${text}`);
  t.throws(() => settingKey('colour'), { code: 'EINVAL' });
});

t.test('shown as it can be given', async (t) => {
  for (const key of settingKeys) t.equal(key.parse(key.format(defaultSettings))[key.field], defaultSettings[key.field], key.key);
  t.equal(settingKey('read-cache').format(effectiveSettings({ readCacheBytes: 5 * 1024 ** 2 })), '5MiB');
});
