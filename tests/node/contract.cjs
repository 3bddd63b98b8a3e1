// Judges the contract with tools that others have made: ajv, the AsyncAPI parser, TypeScript.
//
//   node contract.cjs <folder of the contract> <folder to write to>
//
// Standard input: {"good": [package…], "bad": [package…], "events": [event…]}
'use strict';
const fs = require('fs');
const path = require('path');
const Ajv = require('ajv/dist/2020').default;
const formats = require('ajv-formats').default;
const ts = require('typescript');
const { Parser } = require('@asyncapi/parser');

const [contract, scratch] = process.argv.slice(2);
const read = (name) => fs.readFileSync(path.join(contract, name), 'utf8');
const wrong = [];

const ajv = formats(new Ajv({ strict: true, allowUnionTypes: true, strictRequired: false }));
const isPackage = ajv.compile(JSON.parse(read('package.schema.json')));
const isEvent = ajv.compile(JSON.parse(read('event.schema.json')));
const { good, bad, events } = JSON.parse(fs.readFileSync(0, 'utf8'));
for (const each of good) if (!isPackage(each)) wrong.push(['refused', each, isPackage.errors]);
for (const each of bad) if (isPackage(each)) wrong.push(['accepted', each]);
for (const each of events) if (!isEvent(each)) wrong.push(['refused', each, isEvent.errors]);

// Each package and event as a constant of its type.
const constants = [
  ...good.map((each, i) => `export const package${i}: WorkPackage = ${JSON.stringify(each)};`),
  ...events.map((each, i) => `export const event${i}: JobEvent = ${JSON.stringify(each)};`),
];
fs.writeFileSync(path.join(scratch, 'contract.d.ts'), read('generative-ai-worker.d.ts'));
const uses = path.join(scratch, 'uses.ts');
fs.writeFileSync(uses, `import type { WorkPackage, JobEvent } from './contract';\n${constants.join('\n')}
export const url = (event: JobEvent) => (event.status === 'completed' ? event.imageUrl : undefined);
// @ts-expect-error: a package has a job
export const none: WorkPackage = { type: 'collection-image' };
`);
const program = ts.createProgram([uses], { strict: true, noEmit: true, types: [], skipLibCheck: false });
for (const fault of ts.getPreEmitDiagnostics(program)) wrong.push(ts.flattenDiagnosticMessageText(fault.messageText, '\n'));

new Parser().parse(read('asyncapi.json')).then(({ document, diagnostics }) => {
  // 0 is an error; the rest is advice.
  for (const fault of diagnostics) if (fault.severity === 0) wrong.push([fault.message, fault.path]);
  if (!document) wrong.push('no AsyncAPI document');
  for (const each of wrong) console.error(JSON.stringify(each, null, 1));
  process.exit(wrong.length ? 1 : 0);
});
