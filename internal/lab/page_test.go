package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	pageHost   = "127.0.0.1:9164"
	pageViewer = "0123456789abcdef0123456789abcdef"
	pageAdmin  = "fedcba9876543210fedcba9876543210"
	// pageMarkup is what a hostile client says. As markup it would run a script, and ask another host.
	pageMarkup = `EHLO <img src=http://192.0.2.99/x onerror=window.hurt=1><script>window.hurt=1</script>`
)

// pageConfig serves a site and its page, with settings of the API.
func pageConfig(t *testing.T, api string) []byte {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/tokens", []byte("viewer "+pageViewer+"\n"), 0o600))
	must(t, os.WriteFile(dir+"/admin", []byte("alice "+pageAdmin+"\n"), 0o600))
	return fmt.Appendf(nil, `#yaml
api: {%s, token-file: %s/tokens, admin-token-file: %s/admin}
pass-ttl: 1h
offenders: {action: reset, after: 8, within: 1s}
frontends:
  - {name: smtp, bind: "%s:25", inspect-delay: 2s, default_backend: mx}
  - {name: smtp6, bind: "[%s]:25", inspect-delay: 2s, default_backend: mx6}
backends:
  - name: mx
    smtpchk: HELO gateway.example.net
    default-server: {check: true, inter: 1s}
    servers: [{name: mx1, address: "%s:25"}, {name: mx2, address: "%s:25"}]
  - {name: mx6, servers: [{name: mx3, address: "[%s]:25"}]}
`, api, dir, dir, ShapeVIP4, ShapeVIP6, Server4a, Server4b, Server6a)
}

// crowdOf lets bots talk early, clients hang up and mails arrive, again and again until the context ends.
func crowdOf(ctx context.Context, t *testing.T, l *Lab) {
	t.Helper()
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	again := func(do func()) {
		all.Go(func() {
			for ctx.Err() == nil {
				do()
				select {
				case <-ctx.Done():
				case <-time.After(400 * time.Millisecond):
				}
			}
		})
	}
	to4, to6 := ShapeVIP4+":25", "["+ShapeVIP6+"]:25"
	again(func() { _, _ = l.Bot(ctx, ShapeClient4(1), to4, 300*time.Millisecond, "EHLO bot\r\n", 5*time.Second) })
	again(func() { _, _ = l.Bot(ctx, ShapeClient6(2), to6, 40*time.Millisecond, "HELO six\r\n", 5*time.Second) })
	again(func() { _ = l.HangUp(ctx, ShapeClient4(3), to4, 900*time.Millisecond, true) })
	again(func() { _, _ = l.Deliver(ctx, ShapeClient4(4), to4, strings.NewReader("Subject: x\r\n\r\nx\r\n")) })
}

// TestPage: in a real browser the page shows what a gateway with traffic does, acts for administrators alone, and is not
// impressed by what hostile clients say. It asks nobody but its own server, and breaks no policy of its own.
func TestPage(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	startMTAs(t, l, both...)
	gateway(ctx, t, l, pageConfig(t, fmt.Sprintf("listen: %q, page: everyone", pageHost)))
	b := newBrowser(t, l.Gateway)
	crowdOf(ctx, t, l)
	b.do(chromedp.Navigate("http://" + pageHost + "/"))
	t.Run("numbers", func(t *testing.T) { b.with(t).numbers() })
	t.Run("log", func(t *testing.T) { b.with(t).liveLog(ctx, l) })
	t.Run("story", func(t *testing.T) { b.with(t).story() })
	t.Run("visitor", func(t *testing.T) { b.with(t).visitor() })
	t.Run("keyboard", func(t *testing.T) { b.with(t).keyboard() })
	t.Run("shapes", func(t *testing.T) { b.with(t).shapes() })
	t.Run("actions", func(t *testing.T) { b.with(t).actions(ctx, l) })
	if list := b.foreign(pageHost); len(list) > 0 {
		t.Errorf("the page asked for %q", list)
	}
	if list := b.complaints(); len(list) > 0 {
		t.Errorf("the browser complains: %q", list)
	}
}

// with returns the browser for a part of a test.
func (b *browser) with(t *testing.T) *browser {
	b.t = t
	return b
}

// numbers: curves move, the histogram has bots and mail servers in their places, and tables have the same numbers.
func (b *browser) numbers() {
	b.until(`document.querySelector('#state').dataset.state === 'good'`)
	b.until(`Number(document.querySelector('#tile-early').textContent) > 0 && Number(document.querySelector('#tile-quiet').textContent) > 0`)
	for _, chart := range []string{"verdict", "hold"} {
		path := fmt.Sprintf(`document.querySelector('#%s-chart .area')?.getAttribute('d')`, chart)
		b.until(path)
		was, _ := json.Marshal(eval[string](b, path))
		b.until(fmt.Sprintf(`%s && %s !== %s`, path, path, was))
	}
	b.until(`document.querySelectorAll('#verdict-chart .area.c-early-talker').length === 1`)
	b.until(`['early-talker', 'hang-up', 'quiet'].every(k => document.querySelector('#silence-chart rect.c-' + k))`)
	// Bots are left of the delay, and mail servers right of where bots are.
	if !eval[bool](b, `(() => {
		const x = (k) => [...document.querySelectorAll('#silence-chart rect.c-' + k)].map(r => r.getBoundingClientRect());
		const delay = document.querySelector('#silence-chart .delay').getBoundingClientRect().left;
		return x('early-talker').every(r => r.left < delay) && x('quiet').every(r => r.right > delay);
	})()`) {
		b.t.Error("bots and mail servers are not on their sides of the delay")
	}
	b.until(`/\d+ clients talked too early, nine in ten of them within/.test(document.querySelector('#silence-text').textContent)`)
	b.do(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll('details.table')) d.open = true; undefined`))
	b.until(`document.querySelectorAll('#verdict-chart td').length > 5 && document.querySelectorAll('#silence-chart tbody tr').length >= 3`)
	b.do(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll('details.table')) d.open = false; undefined`))
}

// liveLog: a bot's verdict appears as it comes, filters hold, what a hostile client says is text, and a wrong filter is told.
func (b *browser) liveLog(ctx context.Context, l *Lab) {
	b.until(`document.querySelector('#log li[data-verdict=early-talker][data-client="` + ShapeClient6(2) + `"]')`)
	seen, err := l.Bot(ctx, ShapeClient4(7), ShapeVIP4+":25", 20*time.Millisecond, pageMarkup+"\r\n", 5*time.Second)
	must(b.t, err)
	if seen.End != EndReset {
		b.t.Errorf("the bot: %+v", seen)
	}
	b.until(`document.querySelector('#log li[data-client="` + ShapeClient4(7) + `"] .why')?.textContent.includes('onerror=window.hurt=1')`)
	b.do(chromedp.Click("#log li[data-client='" + ShapeClient4(7) + "'] button"))
	b.until(`document.querySelector('#story .talk')?.textContent.includes('<script>window.hurt=1</script>')`)
	if eval[bool](b, `'hurt' in window || document.querySelector('#content img, #content script') !== null`) {
		b.t.Error("what a client said has become markup")
	}
	b.shoot("hostile")
	b.do(typed("#filter-client", "2001:db8::/32"))
	b.until(`(n => n.length > 2 && [...n].every(e => e.dataset.client.startsWith('2001:db8:')))(document.querySelectorAll('#log li'))`)
	b.do(typed("#filter-client", "nonsense"))
	b.until(`document.querySelector('#filter-error').textContent.includes('expected an address or a network')`)
	b.expectComplaint("400")
	b.do(typed("#filter-client", ""))
	b.until(`document.querySelector('#filter-error').hidden && document.querySelectorAll('#log li').length > 2`)
	b.do(chromedp.Click("#pause"))
	was := eval[int](b, `document.querySelectorAll('#log li').length`)
	b.until(`/Paused; [2-9]/.test(document.querySelector('#live-text').textContent)`)
	if n := eval[int](b, `document.querySelectorAll('#log li').length`); n != was {
		b.t.Errorf("%d lines, and %d while it is paused", was, n)
	}
	b.do(chromedp.Click("#pause"))
	b.until(fmt.Sprintf(`document.querySelectorAll('#log li').length > %d`, was))
}

// expectComplaint forgets what the browser says of an answer that was an error on purpose.
func (b *browser) expectComplaint(status string) {
	b.t.Helper()
	for _, c := range b.complaints() {
		if !strings.Contains(c, "status of "+status) {
			b.t.Errorf("the browser complains: %s", c)
		}
	}
}

// story: the picture of a connection has what was sent, in order, and says the same in words.
func (b *browser) story() {
	for verdict, want := range map[string][]string{
		"early-talker": {"SYN", "SYN-ACK", "ACK", "silence", "bot", "RST"},
		"hang-up":      {"SYN", "SYN-ACK", "ACK", "silence", "RST"},
		"quiet":        {"SYN", "SYN-ACK", "ACK", "SYN", "SYN-ACK", "220 banner", "first words", "octets"},
	} {
		frontier := ""
		if verdict == "early-talker" {
			frontier = fmt.Sprintf("[data-client=%q]", ShapeClient4(1))
		}
		line := "#log li[data-verdict=" + verdict + "]" + frontier
		b.until(`document.querySelector('` + line + `')`)
		b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('` + line + ` button').click()`))
		b.until(`document.querySelector('#story .pill')?.classList.contains('c-` + verdict + `')`)
		drawn := eval[[]string](b, `[...document.querySelectorAll('#story svg g text')].map(e => e.textContent)`)
		said := eval[[]string](b, `[...document.querySelectorAll('#story ol li')].map(e => e.textContent)`)
		for _, list := range [][]string{drawn, said} {
			rest := list
			for _, w := range want {
				for len(rest) > 0 && !strings.Contains(rest[0], w) {
					rest = rest[1:]
				}
				if len(rest) == 0 {
					b.t.Errorf("%s: no %q in its place in %q", verdict, w, list)
					break
				}
				rest = rest[1:]
			}
		}
		b.shoot("story-" + verdict)
	}
	for cause, want := range map[string]string{
		"client-closed": "client server FIN", "client-reset": "client server RST", "server-reset": "server client RST", "finished": "server client FIN, FIN",
		"idle": "gate client RST (idle)", "server-timeout": "gate client RST (server-timeout)", "client-timeout": "gate client RST (client-timeout)",
	} {
		got := await[string](b, fmt.Sprintf(`import('/story.js').then(m => m.steps({verdict: 'quiet', cause: %q, server: 'mx1', held_ms: 2000, banner_ms: 2001,
			first_byte_ms: 2002, total_ms: 3000, bytes_to_server: 9}, 'reset').at(-1)).then(s => [s.from, s.to, s.label].join(' '))`, cause))
		if got != want {
			b.t.Errorf("a connection that ended by %s: %q, want %q", cause, got, want)
		}
	}
}

// visitor: who has not signed in is shown no actions, and the server refuses them too.
func (b *browser) visitor() {
	if eval[bool](b, `[...document.querySelectorAll('.acts, form.admin, #sign-out')].some(e => e.checkVisibility())`) {
		b.t.Error("a visitor is shown actions")
	}
	if !eval[bool](b, `document.querySelector('#sign-in').checkVisibility()`) {
		b.t.Error("a visitor cannot sign in")
	}
	status := await[int](b, `fetch('v1/servers/mx/mx1', {method: 'PATCH', headers: {'X-Hushgate-Page': '1', 'Content-Type': 'application/json'},
		body: '{"state":"drain"}'}).then(r => r.status)`)
	if status != 403 {
		b.t.Errorf("a visitor's action: status %d", status)
	}
	b.expectComplaint("403")
}

// keyboard: the first stop is a link to the content, every stop is visible, and the log and the curves are worked without a mouse.
func (b *browser) keyboard() {
	b.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(); window.scrollTo(0, 0); undefined`), chromedp.Reload())
	b.until(`document.querySelectorAll('#log li').length > 0 && document.querySelector('#verdict-chart .area')`)
	b.do(chromedp.KeyEvent(kb.Tab))
	if !eval[bool](b, `document.activeElement.matches('.skip') && document.activeElement.getBoundingClientRect().width > 50`) {
		b.t.Errorf("the first stop is %s", eval[string](b, `document.activeElement.outerHTML`))
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`document.activeElement.id === 'main'`)
	stops := map[string]bool{}
	for range 40 {
		b.do(chromedp.KeyEvent(kb.Tab))
		stop := eval[string](b, `(e => e.id || e.closest('[id]').id)(document.activeElement)`)
		if stops[stop] = true; stop == "log" {
			break
		}
		if !eval[bool](b, `(e => { const f = e.matches('.choice input') ? e.nextElementSibling : e, s = getComputedStyle(f);
			return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 })(document.activeElement)`) {
			b.t.Errorf("the focus on %s cannot be seen", stop)
		}
	}
	for _, s := range []string{"span", "verdict-chart", "hold-chart", "since", "filter-verdict", "filter-client", "pause", "log"} {
		if !stops[s] {
			b.t.Errorf("no stop at %s: %v", s, stops)
		}
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`document.querySelector('#story svg')`)
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('#verdict-chart svg').focus(); undefined`), chromedp.KeyEvent(kb.ArrowLeft))
	b.until(`document.querySelector('#verdict-chart .cursor').getAttribute('visibility') === 'visible'`)
	if eval[bool](b, `[...document.querySelectorAll('button, input, select, svg[role=img]')].some(e =>
		!e.ariaLabel && !e.labels?.length && !e.textContent.trim())`) {
		b.t.Error("something that can be operated has no name")
	}
}

// shapes: the page fits every window, in light and in dark, and does not move for those who want rest.
func (b *browser) shapes() {
	colour := `getComputedStyle(document.body).backgroundColor`
	light := eval[string](b, colour)
	b.prefer("prefers-color-scheme", "dark", "prefers-reduced-motion", "reduce")
	if dark := eval[string](b, colour); dark == light {
		b.t.Errorf("it is %s in light and in dark", dark)
	}
	if eval[bool](b, `document.getAnimations().length > 0 || getComputedStyle(document.documentElement).scrollBehavior === 'smooth'`) {
		b.t.Error("it moves although the user wants it not to")
	}
	for _, size := range [][2]int64{{360, 640}, {320, 568}, {768, 1024}, {1920, 1080}} {
		b.size(size[0], size[1])
		b.until(fmt.Sprintf(`document.querySelector('#verdict-chart svg').viewBox.baseVal.width < %d`, size[0])) // drawn anew
		b.until(`document.querySelectorAll('#log li').length > 3`)
		if w := eval[int64](b, `Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)`); w > size[0] {
			b.t.Errorf("it is %d wide in a window of %d: %q", w, size[0], eval[[]string](b, fmt.Sprintf(
				`[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > %d + 1).map(e => e.tagName + '.' + e.className).slice(0, 8)`, size[0])))
		}
		b.shoot(fmt.Sprintf("dark-%d", size[0]))
	}
	b.prefer("prefers-color-scheme", "light")
	b.size(1280, 900)
	b.shoot("light-1280")
}

// actions: with a read-only token nothing can be done; with an admin's a click drains a server, and clients get passes and
// become offenders.
func (b *browser) actions(ctx context.Context, l *Lab) {
	b.do(chromedp.Click("#sign-in"))
	b.until(`document.querySelector('#dialog').open && document.activeElement.id === 'token'`)
	b.do(chromedp.SendKeys("#token", strings.Repeat("x", 32)+kb.Enter))
	b.until(`document.querySelector('#token-error').textContent.includes('not known')`)
	b.expectComplaint("401")
	b.do(chromedp.SendKeys("#token", pageAdmin+kb.Enter))
	b.until(`document.body.dataset.level === 'admin' && !document.querySelector('#dialog').open && document.querySelector('.acts').checkVisibility()`)
	if eval[string](b, `document.cookie`) != "" {
		b.t.Error("scripts can read the cookie")
	}
	state := func() string {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pageHost+"/v1/servers/mx/mx1", nil)
		must(b.t, err)
		r.Header.Set("Authorization", "Bearer "+pageViewer)
		a, err := web(l.Gateway).Do(r)
		must(b.t, err)
		defer func() { _ = a.Body.Close() }()
		var s struct{ State string }
		must(b.t, json.NewDecoder(a.Body).Decode(&s))
		return s.State
	}
	card := `[data-server="mx/mx1"]`
	press := func(n int) { b.do(chromedp.Click(fmt.Sprintf("%s .group button:nth-child(%d)", card, n))) }
	press(2)
	b.until(`document.querySelector('` + card + `').dataset.state === 'drain'`)
	if s := state(); s != "drain" {
		b.t.Errorf("after a click the server is %q", s)
	}
	b.until(`document.querySelector('#said').textContent.includes('mx1')`)
	b.shoot("drained")
	press(1)
	b.until(`document.querySelector('` + card + `').dataset.state === 'up'`)
	if s := state(); s != "ready" {
		b.t.Errorf("after another click the server is %q", s)
	}
	b.do(typed(card+" .weight input", "7"), chromedp.Click(card+" .weight button"))
	b.until(`document.querySelector('#said').textContent.includes('weight 7')`)
	b.do(chromedp.SendKeys("#add-pass input", "203.0.113.9"+kb.Enter))
	b.until(`document.querySelector('#passes tr[data-client="203.0.113.9/32"]')`)
	b.do(chromedp.SendKeys("#add-offender input", "2001:db8:bad::1"+kb.Enter))
	b.until(`document.querySelector('#offenders tr[data-client^="2001:db8:bad:"]')`)
	b.do(chromedp.Click(`#passes tr[data-client="203.0.113.9/32"] button`))
	b.until(`!document.querySelector('#passes tr[data-client="203.0.113.9/32"]')`)
	b.do(chromedp.Click(`#offenders tr[data-client^="2001:db8:bad:"] button`))
	b.until(`!document.querySelector('#offenders tr[data-client^="2001:db8:bad:"]')`)
	b.do(chromedp.SendKeys("#add-pass input", "nobody"+kb.Enter))
	b.until(`document.querySelector('#said').textContent.includes('expected the address of a client')`)
	b.expectComplaint("400")
	call(b, network.ClearBrowserCookies, cdp.Empty{}) // as if the session had expired
	b.until(`document.body.dataset.level === 'read-only' && !document.querySelector('.acts').checkVisibility()`)
	b.do(chromedp.Click("#sign-in"), chromedp.SendKeys("#token", pageAdmin+kb.Enter))
	b.until(`document.querySelector('.acts').checkVisibility()`)
	b.do(chromedp.Click("#sign-out"))
	b.until(`document.body.dataset.level === 'read-only' && !document.querySelector('.acts').checkVisibility()`)
	b.do(chromedp.Click("#sign-in"), chromedp.SendKeys("#token", pageViewer+kb.Enter))
	b.until(`document.querySelector('#sign-out').checkVisibility() && document.body.dataset.level === 'read-only'`)
	if eval[bool](b, `[...document.querySelectorAll('.acts, form.admin')].some(e => e.checkVisibility())`) {
		b.t.Error("with a read-only token actions are shown")
	}
}

// TestPageIsLocked: over TLS, where only those who sign in are shown something, a stranger sees a form and nothing of the gateway, and a
// page that is open survives an upgrade of the program.
func TestPageIsLocked(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	startMTAs(t, l, both...)
	const host = ShapeGateway4 + ":9164"
	crt := filepath.Join(t.TempDir(), "crt")
	selfSigned(t, crt, "gateway")
	gateway(ctx, t, l, pageConfig(t, fmt.Sprintf("listen: %q, page: signed-in, crt: %s", host, crt)))
	b := newBrowser(t, l.Gateway)
	b.do(chromedp.Navigate("https://" + host + "/"))
	b.until(`document.querySelector('#locked').checkVisibility() && document.querySelector('#sign-in').checkVisibility()`)
	if eval[bool](b, `document.querySelector('#content').checkVisibility() || document.body.innerText.includes('mx1')`) {
		t.Error("a stranger is shown the gateway")
	}
	b.shoot("locked")
	if list := b.complaints(); len(list) > 0 {
		t.Errorf("the browser complains: %q", list)
	}
	b.do(chromedp.Click("#sign-in"), chromedp.SendKeys("#token", pageAdmin+kb.Enter))
	b.until(`document.querySelectorAll('.server').length === 3 && document.querySelector('.acts').checkVisibility()`)
	sh(ctx, t, l.Gateway, binary+" upgrade")
	b.until(`document.querySelector('#locked').checkVisibility()`) // sessions end with the process
	b.do(chromedp.Click("#sign-in"), chromedp.SendKeys("#token", pageViewer+kb.Enter))
	b.until(`document.querySelector('#state').dataset.state === 'good'`)
	_, err := l.Bot(ctx, ShapeClient4(1), ShapeVIP4+":25", 20*time.Millisecond, "EHLO bot\r\n", 5*time.Second)
	must(t, err)
	b.until(`document.querySelector('#log li[data-verdict=early-talker]')`)
	if list := b.foreign(host); len(list) > 0 {
		t.Errorf("the page asked for %q", list)
	}
}
