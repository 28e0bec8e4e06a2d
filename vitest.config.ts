/**
 * One vitest project over the whole workspace. Files run in forks, so that a native fault ends one file and not the run.
 */
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["{packages,apps,examples}/*/test/**/*.test.ts", "{conformance,tools}/**/*.test.ts"],
    exclude: ["**/node_modules/**"],
    pool: "forks",
    testTimeout: 30_000,
    reporters: ["default", "./tools/vitest/summary-reporter.ts"],
  },
})
