/** What the tests of this package use, in one place. */
export * from "../../src/index.ts"
export { applyChanges, createRig, finish, openRig, type Rig, runSeal, stepSeal } from "./harness.ts"
