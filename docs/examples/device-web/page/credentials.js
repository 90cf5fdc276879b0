// Which device this tab is: from the part of the address after `#`, which no server is sent; kept for as long as the tab lives.

/** @typedef {{ hub: string, device: string, token: string, room?: string }} Credentials */

const KEY = "warren-device";

/** @returns {Credentials | undefined} */
export function credentials() {
  const said = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (said["device"] && said["token"]) {
    sessionStorage.setItem(KEY, JSON.stringify({ hub: "http://127.0.0.1:8080", ...said }));
    // Out of the address bar, and out of what is copied from there.
    history.replaceState(null, "", location.pathname);
  }
  // Another link pasted into this tab.
  addEventListener("hashchange", () => location.reload());
  const kept = sessionStorage.getItem(KEY);
  return kept ? JSON.parse(kept) : undefined;
}
