/** All families, in the order in which they run. */
import type { Family } from '../suite.js';
import { acls } from './acls.js';
import { attributes } from './attributes.js';
import { content } from './content.js';
import { kinds } from './kinds.js';
import { locks } from './locks.js';
import { mapping } from './mapping.js';
import { names } from './names.js';
import { opening } from './opening.js';
import { ownership } from './ownership.js';
import { paths } from './paths.js';
import { permissions } from './permissions.js';
import { renames } from './renames.js';
import { spaces } from './space.js';
import { times } from './times.js';

export const FAMILIES: readonly Family[] = [
  ...paths,
  ...kinds,
  ...permissions,
  ...ownership,
  ...names,
  ...renames,
  ...times,
  ...opening,
  ...content,
  ...mapping,
  ...attributes,
  ...acls,
  ...locks,
  ...spaces,
];
