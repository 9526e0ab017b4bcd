// node run.mjs NAME: one test of those below, against the server that EDGEPROXY_TEST_PAGE names. Ends with 0 if it holds.

import * as attacks from "./attacks.mjs";
import * as life from "./life.mjs";
import * as reach from "./reach.mjs";
import * as reference from "./reference.mjs";
import * as rights from "./rights.mjs";
import { end } from "./stage.mjs";
import * as thousand from "./thousand.mjs";

const tests = { ...attacks, ...life, ...reach, ...reference, ...rights, ...thousand };
const [, , name] = process.argv;
const about = JSON.parse(process.env.EDGEPROXY_TEST_PAGE);
let code = 0;
try {
  if (!Object.hasOwn(tests, name)) throw new Error(`there is no test ${name}; there are ${Object.keys(tests).join(", ")}`);
  await tests[name](about);
} catch (error) {
  console.error(error);
  code = 1;
}
await end();
process.exit(code);
