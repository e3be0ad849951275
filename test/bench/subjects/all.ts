/** Subjects by their names, as `--subjects` takes them. */
import { resolve } from 'node:path';
import { Bindfs, Ext4, Folder, Mergerfs } from './plain.js';
import { NullFileSystem, Ostraka } from './ostraka.js';
import { Btrfs, Gluster, ZfsFuse } from './redundant.js';
import type { Site, Subject } from './subject.js';

const makers: Readonly<Record<string, (site: Site) => Subject>> = {
  ostraka: (site) => new Ostraka(site, { name: 'ostraka' }),
  'ostraka-degraded': (site) => new Ostraka(site, { name: 'ostraka-degraded', degraded: true }),
  null: (site) => new NullFileSystem(site),
  bindfs: (site) => new Bindfs(site),
  ext4: (site) => new Ext4(site),
  mergerfs: (site) => new Mergerfs(site),
  btrfs: (site) => new Btrfs(site),
  'zfs-fuse': (site) => new ZfsFuse(site),
  gluster: (site) => new Gluster(site),
};

export const subjectNames: readonly string[] = Object.keys(makers);

/** Names that may stand for a folder of their own. */
const OTHER = /^(?:ostraka@(?<checkout>.+)|(?<name>[\w-]+)=(?<folder>\/.*))$/;

/** @throws Error when there is no such subject */
export function makeSubject(word: string, site: Site): Subject {
  const maker = makers[word];
  if (maker !== undefined) return maker(site);
  const { checkout, name, folder } = OTHER.exec(word)?.groups ?? {};
  if (checkout !== undefined) return new Ostraka(site, { name: word, checkout: resolve(checkout) });
  if (name !== undefined && folder !== undefined) return new Folder(name, folder);
  throw new Error(`no such subject: ${word} (there are ${subjectNames.join(', ')}, ostraka@CHECKOUT, NAME=/FOLDER)`);
}
