// Writes the test vectors of npm's cctv-age into a folder: node vectors.mjs MODULE FOLDER
import { mkdirSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { inflateSync } from "node:zlib";

const [module, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const vectors = await import(pathToFileURL(`${module}/index.js`));

for (const [name, text] of Object.entries(vectors.default ?? vectors)) {
  const vector = Buffer.from(text);
  const end = vector.indexOf("\n\n") + 2;
  const facts = vector.subarray(0, end);
  const compressed = /^compressed: zlib$/m.test(facts.toString());
  const file = vector.subarray(end);
  writeFileSync(`${folder}/${name}.facts`, facts);
  writeFileSync(`${folder}/${name}.age`, compressed ? inflateSync(file) : file);
}
