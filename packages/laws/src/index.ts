/** Public surface of the laws package: laws as plain effects. `@coppice/laws/vitest` registers them as tests. */
export { applies, chanceOf, claim, type Law, LawBroken, type Subject } from "./law.ts"
export * from "./storage/index.ts"
