// Keeps the totals fresh. Without it every page works, and shows them as they were when it was made.
(function () {
  'use strict';
  var source = null;
  function listen() {
    source = new EventSource(document.body.dataset.events);
    source.addEventListener('strip', function (event) {
      var strip = document.getElementById('strip');
      var fresh = new DOMParser().parseFromString(event.data, 'text/html').getElementById('strip');
      if (strip && fresh) strip.replaceWith(document.importNode(fresh, true));
    });
  }
  function stop() {
    if (source) source.close();
    source = null;
  }
  // A browser has few connections to one host: a page that nobody looks at leaves them to others.
  document.addEventListener('visibilitychange', function () {
    stop();
    if (!document.hidden) listen();
  });
  window.addEventListener('pagehide', stop);
  if (!document.hidden) listen();
})();
