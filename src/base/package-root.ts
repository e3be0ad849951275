/** Where this package lies: the nearest folder upwards that holds package.json. Built files may be at any depth below it. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must } from './assert.js';

function find(from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

/** Absolute path of the package's folder. */
export const packageRoot: string = must(find(dirname(fileURLToPath(import.meta.url))), 'package.json not found above the program');
