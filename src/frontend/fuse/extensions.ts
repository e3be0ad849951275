/**
 * What the kernel appends to requests that make something, behind their body: records, each with its size and type, padded to eight bytes. Types
 * up to SECURITY_CONTEXTS_MAX are a number of security contexts, one of each security module: the extended attribute's name and its value. Other
 * types were not asked for and are left alone.
 */
import { DecodeError } from '../../base/bytes.js';
import type { SecurityContext } from '../../namespace/namespace.js';
import { SECURITY_CONTEXTS_MAX } from './protocol.js';
import type { Request } from './request.js';

const HEADER_BYTES = 8;
const NONE: readonly SecurityContext[] = [];

function padded(bytes: number): number {
  return (bytes + 7) & ~7;
}

/** Labels that a security module gives to what the request makes; copies. @throws DecodeError */
export function decodeSecurityContexts(request: Request): readonly SecurityContext[] {
  if (request.extensionBytes === 0) return NONE;
  const bytes = request.extensions();
  const contexts: SecurityContext[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = bytes.readUInt32LE(at);
    const type = bytes.readUInt32LE(at + 4);
    if (size < HEADER_BYTES || at + size > bytes.length) throw new DecodeError(`extension of ${size} bytes`);
    if (type <= SECURITY_CONTEXTS_MAX) decodeContexts(bytes.subarray(at + HEADER_BYTES, at + size), type, contexts);
    at += padded(size);
  }
  return contexts;
}

function decodeContexts(bytes: Buffer, count: number, contexts: SecurityContext[]): void {
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + HEADER_BYTES > bytes.length) throw new DecodeError('security context without a header');
    const valueBytes = bytes.readUInt32LE(at);
    const nameAt = at + HEADER_BYTES;
    const nameEnd = bytes.indexOf(0, nameAt);
    const end = nameEnd + 1 + valueBytes;
    if (nameEnd <= nameAt || end > bytes.length) throw new DecodeError(`security context of ${valueBytes} bytes`);
    const name = bytes.toString('latin1', nameAt, nameEnd);
    if (!name.startsWith('security.')) throw new DecodeError('a security context with another kind of name');
    contexts.push({ name, value: Buffer.from(bytes.subarray(nameEnd + 1, end)) });
    at = padded(end);
  }
}
