import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The same sources give the same bytes: names come from content, and nothing tells of the machine.
export default defineConfig({
  // Relative, so that the bundle works below any path.
  base: "./",
  plugins: [react()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    modulePreload: { polyfill: false },
    license: { fileName: "licences.md" },
  },
  server: { proxy: { "/api": "http://127.0.0.1:9090" } },
});
