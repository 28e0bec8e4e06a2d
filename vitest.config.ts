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
