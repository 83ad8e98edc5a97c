// Writes native/build/layout.h from the definitions in this folder; leaves the file alone when nothing changed.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { headerText } from './header.js';

const build = join(dirname(fileURLToPath(import.meta.url)), '../../../native/build');
const path = join(build, 'layout.h');
const text = headerText();
mkdirSync(build, { recursive: true });
if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
