// Encrypts with npm's age-encryption, as a stream: node encrypt.mjs MODULE RECIPIENT IN OUT
import { createReadStream, createWriteStream } from "node:fs";
import { webcrypto } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";

const [module, recipient, input, output] = process.argv.slice(2);
// Debian 12's node 18 has it, but does not show it.
globalThis.crypto ??= webcrypto;
const age = await import(pathToFileURL(`${module}/dist/index.js`));

const encrypter = new age.Encrypter();
encrypter.addRecipient(recipient);
const sealed = await encrypter.encrypt(Readable.toWeb(createReadStream(input)));
await pipeline(Readable.fromWeb(sealed), createWriteStream(output, { flags: "wx" }));
