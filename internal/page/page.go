// Package page is the page to look at: the files that a browser shows, embedded in the program. They ask the control API for
// everything, from the browser, so this package knows nothing of the gateway.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assets embed.FS

// policy lets the page load its own files and ask its own server, and nothing else. No script and no style is inline, so text
// that clients of the gateway sent can be neither, whatever it looks like.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// types are the media types of the files. They do not depend on what this machine has in /etc/mime.types.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is a file as it is served.
type file struct {
	body            []byte
	mediaType, etag string
}

// handler serves files by their path.
type handler map[string]*file

// New returns a handler that serves the page and its files.
func New() http.Handler {
	h, err := read(assets, "assets")
	if err != nil {
		panic(err) // a fault of the build, which every test of this package finds
	}
	return h
}

func read(from fs.FS, dir string) (handler, error) {
	h := handler{}
	list, err := fs.ReadDir(from, dir)
	if err != nil {
		return nil, fmt.Errorf("read the page's files: %w", err)
	}
	for _, e := range list {
		body, err := fs.ReadFile(from, path.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read a file of the page: %w", err)
		}
		mediaType := types[path.Ext(e.Name())]
		if mediaType == "" {
			return nil, fmt.Errorf("the page's file %s has no known media type", e.Name())
		}
		sum := sha256.Sum256(body)
		h["/"+e.Name()] = &file{body, mediaType, `"` + hex.EncodeToString(sum[:12]) + `"`}
	}
	index := h["/index.html"]
	if index == nil {
		return nil, fmt.Errorf("the page has no index.html")
	}
	delete(h, "/index.html")
	h["/"] = index
	return h, nil
}

// ServeHTTP implements http.Handler.
func (f handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	one := f[r.URL.Path]
	switch {
	case one == nil:
		http.Error(w, "there is nothing here: the page is at /, and the control API at /v1", http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "expected GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	h.Set("Cache-Control", "no-cache") // a browser asks whether the file has changed: it does with an upgrade
	h.Set("ETag", one.etag)
	if strings.Contains(r.Header.Get("If-None-Match"), one.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", one.mediaType)
	h.Set("Content-Length", strconv.Itoa(len(one.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(one.body)
	}
}
