// Copy buttons: <button type="button" data-ds-copy="#id-of-an-input" hidden>. Without script they stay hidden.
(() => {
  "use strict";

  async function copy(input) {
    input.focus();
    input.select();
    if (navigator.clipboard) {
      try {
        await navigator.clipboard.writeText(input.value);
        return true;
      } catch {
        // Not allowed: fall through to the older way.
      }
    }
    return document.execCommand("copy");
  }

  for (const button of document.querySelectorAll("[data-ds-copy]")) {
    const input = document.querySelector(button.dataset.dsCopy);
    if (!input) continue;
    const label = button.textContent;
    const status = button.parentElement.querySelector("[role=status]");
    button.hidden = false;
    button.addEventListener("click", async () => {
      if (!(await copy(input))) return;
      button.focus();
      button.textContent = button.dataset.dsCopied;
      if (status) status.textContent = button.dataset.dsCopied;
      setTimeout(() => {
        button.textContent = label;
        if (status) status.textContent = "";
      }, 2500);
    });
  }
})();
