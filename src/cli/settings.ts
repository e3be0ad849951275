/** `ostraka settings`: shows and changes what can be set for a pool. */
import type { Command } from 'commander';
import { ControlClient } from '../daemon/control-client.js';
import { poolPaths } from '../daemon/folders.js';
import { readDefinition, writeDefinition } from '../daemon/pool-definition.js';
import { defaultSettings, effectiveSettings, settingKey, settingKeys, type StoredSettings } from '../daemon/settings.js';
import type { Context } from './context.js';

export function addSettings(program: Command, context: Context): void {
  const { folders, output } = context;
  program
    .command('settings')
    .description("show or change a pool's settings")
    .argument('<NAME>', 'the pool')
    .argument('[KEY[=VALUE]...]', 'settings to show, or to change')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  ostraka settings photos\n  ostraka settings photos durability=close commit-interval=2s\n')
    .addHelpText(
      'after',
      `\nSettings:\n${settingKeys.map(({ key, summary, values }) => `  ${key}: ${summary}\n    ${values}`).join('\n')}\n`,
    )
    .action(async (name: string, given: string[], options: { json?: boolean }) => {
      const changes = given.filter((text) => text.includes('='));
      const shown = given.filter((text) => !text.includes('=')).map((text) => settingKey(text));
      if (changes.length > 0) await change(context, name, changes);
      else await readDefinition(folders, name);
      if (changes.length > 0 && shown.length === 0 && options.json !== true) return;
      const settings = effectiveSettings((await readDefinition(folders, name)).settings);
      const keys = shown.length > 0 ? shown : settingKeys;
      if (options.json === true) output.json(Object.fromEntries(keys.map((key) => [key.key, key.format(settings)])));
      else if (shown.length === 1) output.line(shown[0]?.format(settings));
      else
        output.table(
          ['SETTING', 'VALUE', 'DEFAULT', 'MEANING'],
          keys.map((key) => [key.key, key.format(settings), key.format(defaultSettings), key.summary]),
        );
    });
}

async function change({ folders, output }: Context, name: string, changes: readonly string[]): Promise<void> {
  const parsed: StoredSettings[] = changes.map((text) => {
    const at = text.indexOf('=');
    return settingKey(text.slice(0, at)).parse(text.slice(at + 1));
  });
  const changed = Object.assign({}, ...parsed) as StoredSettings;
  const definition = await readDefinition(folders, name);
  await writeDefinition(folders, { ...definition, settings: { ...definition.settings, ...changed } });
  const client = await ControlClient.connect(poolPaths(folders, name).socket);
  if (client === undefined) return;
  try {
    const { pending } = (await client.request({ verb: 'settings', settings: changed })) as { pending: string[] };
    if (pending.length > 0) output.line(`${pending.join(', ')}: takes effect at the next mount.`);
  } finally {
    client.close();
  }
}
