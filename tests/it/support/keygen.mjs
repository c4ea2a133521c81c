// Makes a post-quantum identity with npm's age-encryption: node keygen.mjs MODULE OUT
import { writeFileSync } from "node:fs";
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

const [module, output] = process.argv.slice(2);
// Debian 12's node 18 has it, but does not show it.
globalThis.crypto ??= webcrypto;
const age = await import(pathToFileURL(`${module}/dist/index.js`));

const identity = await age.generateHybridIdentity();
const recipient = await age.identityToRecipient(identity);
writeFileSync(output, `# public key: ${recipient}\n${identity}\n`, { flag: "wx", mode: 0o600 });
