package page

import (
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func get(t *testing.T, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New().ServeHTTP(w, r)
	return w
}

// TestFiles: every file has a type and a policy that allows nothing foreign and nothing inline, and is sent once.
func TestFiles(t *testing.T) {
	files := New().(handler)
	if len(files) < 10 {
		t.Fatalf("%d files", len(files))
	}
	for name, f := range files {
		w := get(t, http.MethodGet, name)
		if w.Code != http.StatusOK || w.Body.String() != string(f.body) || w.Header().Get("Content-Type") != f.mediaType {
			t.Errorf("%s: %d, %s", name, w.Code, w.Header().Get("Content-Type"))
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';",
			"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if !strings.HasPrefix(w.Header().Get(header), want) {
				t.Errorf("%s: %s is %q, want %q", name, header, w.Header().Get(header), want)
			}
		}
		for _, need := range []string{"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(w.Header().Get("Content-Security-Policy"), need) {
				t.Errorf("%s: the policy lacks %s", name, need)
			}
		}
		if again := get(t, http.MethodGet, name, "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s again: %d with %d octets", name, again.Code, again.Body.Len())
		}
		if head := get(t, http.MethodHead, name); head.Code != http.StatusOK || head.Body.Len() > 0 {
			t.Errorf("HEAD %s: %d with %d octets", name, head.Code, head.Body.Len())
		}
		if post := get(t, http.MethodPost, name); post.Code != http.StatusMethodNotAllowed || post.Header().Get("Allow") == "" {
			t.Errorf("POST %s: %d", name, post.Code)
		}
	}
	for _, name := range []string{"/index.html", "/assets/main.js", "/nothing", "/../page.go", "//main.js", "/main.js/"} {
		if w := get(t, http.MethodGet, "http://x"+name); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

// TestBadFiles: files that could not be served are a fault of the build.
func TestBadFiles(t *testing.T) {
	for want, files := range map[string]fstest.MapFS{
		"no index.html":       {"a/main.js": {}},
		"no known media type": {"a/index.html": {}, "a/x.wasm": {}},
		"read the page":       {},
	} {
		if _, err := read(files, "a"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// forbidden are ways by which text could become markup or code, or by which the page could ask somebody else.
var forbidden = map[string]*regexp.Regexp{
	".js": regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\b|new Function|` +
		`setTimeout\(\s*["'` + "`" + `]|srcdoc|javascript:|\.style\b|localStorage|sessionStorage|document\.cookie|https?://|import\(`),
	".html": regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|https?://|src="/|<iframe|<object|<embed|<base`),
	".css":  regexp.MustCompile(`(?i)@import|url\(|expression\(|https?://`),
	".svg":  regexp.MustCompile(`(?i)<script|\son[a-z]+=|<foreignObject|href=|https?://`),
}

// TestNothingForeign: no file has an inline script or style, a way to make markup of text, or a reference to another server.
// What a file refers to is there.
func TestNothingForeign(t *testing.T) {
	files := New().(handler)
	refers := regexp.MustCompile(`(?:from|import) "\./([^"]+)"|(?:src|href)="([^"#]+)"`)
	used := map[string]bool{"/": true}
	for name, f := range files {
		ext := path.Ext(name)
		if name == "/" {
			ext = ".html"
		}
		text := strings.ReplaceAll(string(f.body), "http://www.w3.org/2000/svg", "") // a name, which nobody asks
		if found := forbidden[ext].FindString(text); found != "" {
			t.Errorf("%s has %q", name, found)
		}
		for _, m := range refers.FindAllStringSubmatch(string(f.body), -1) {
			to := "/" + m[1] + m[2]
			if used[to] = true; files[to] == nil {
				t.Errorf("%s refers to %s, which is not there", name, to)
			}
		}
	}
	for name := range files {
		if !used[name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
}

// TestLabels: what can be operated has a name, and every name that a script looks for is in the page.
func TestLabels(t *testing.T) {
	files := New().(handler)
	html := string(files["/"].body)
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if ids[m[1]] {
			t.Errorf("two elements with the id %s", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?:aria-labelledby|for)="([^"]+)"|href="#([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if !ids[m[1]+m[2]] {
			t.Errorf("%s: there is no such id", m[0])
		}
	}
	for name, f := range files {
		for _, m := range regexp.MustCompile(`\$\("([^"]+)"\)`).FindAllStringSubmatch(string(f.body), -1) {
			if !ids[m[1]] {
				t.Errorf("%s looks for %s, which is not in the page", name, m[1])
			}
		}
	}
}
