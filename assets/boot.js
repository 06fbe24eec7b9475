// Sets the colour scheme before the first paint; Mantine keeps the visitor's choice under this key.
(function () {
  "use strict";
  let kept = null;
  try {
    kept = localStorage.getItem("mantine-color-scheme-value");
  } catch (blocked) {
    kept = null;
  }
  const dark =
    kept === "dark" ||
    (kept !== "light" && window.matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();
