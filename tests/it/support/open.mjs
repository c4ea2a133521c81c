// Opens an age file with npm's age-encryption, as a stream: node open.mjs MODULE IDENTITY IN OUT
import { createReadStream, createWriteStream, readFileSync } from "node:fs";
import { webcrypto } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";

const [module, identityFile, input, output] = process.argv.slice(2);
// Debian 12's node 18 has it, but does not show it.
globalThis.crypto ??= webcrypto;
const age = await import(pathToFileURL(`${module}/dist/index.js`));

const decrypter = new age.Decrypter();
for (const line of readFileSync(identityFile, "utf8").split("\n")) {
  if (line.startsWith("AGE-SECRET-KEY-")) decrypter.addIdentity(line.trim());
}
const plaintext = await decrypter.decrypt(Readable.toWeb(createReadStream(input)));
await pipeline(Readable.fromWeb(plaintext), createWriteStream(output, { flags: "wx" }));
