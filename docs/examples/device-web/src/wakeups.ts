// What a browser knows of the network and of its user: when a connection is worth another look.

/** Calls `listener` when the network is there again or gone, and when the page is looked at again. Does nothing in Node. */
export function wakeups(listener: () => void): () => void {
  if (typeof window === "undefined" || typeof document === "undefined") return () => undefined;
  const shown = () => {
    if (document.visibilityState === "visible") listener();
  };
  window.addEventListener("online", listener);
  window.addEventListener("offline", listener);
  window.addEventListener("pageshow", listener);
  document.addEventListener("visibilitychange", shown);
  return () => {
    window.removeEventListener("online", listener);
    window.removeEventListener("offline", listener);
    window.removeEventListener("pageshow", listener);
    document.removeEventListener("visibilitychange", shown);
  };
}
