/**
 * One vitest project over the whole workspace. Files run in forks, so that a native fault ends one file and not the run.
 */
import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["{packages,apps,examples}/*/test/**/*.test.ts", "{conformance,tools}/**/*.test.ts"],
    exclude: ["**/node_modules/**"],
    pool: "forks",
    // One core fewer than there are is vitest's own choice: on two cores that is one, and twice the time.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 30_000,
    reporters: ["default", "./tools/vitest/summary-reporter.ts"],
  },
})
