package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestAPISettings: a path or a group that cannot be right is an error that says why.
func TestAPISettings(t *testing.T) {
	const rest = "\nfrontends: [{name: ft, bind: [\":25\"], inspect-delay: 30s, default_backend: bk}]\nbackends: [{name: bk, servers: [{name: a, address: \"10.0.0.11:25\", check: true}]}]\n"
	cfg, _, err := Parse("x.yaml", []byte("api: {socket: /run/a.sock, group: adm, admin-socket: none}"+rest))
	if err != nil || cfg.Global.API != (API{"/run/a.sock", "none", "adm", ""}) {
		t.Errorf("%+v, %v", cfg, err)
	}
	for text, want := range map[string]string{
		"socket: run/a.sock":                         "it is not absolute",
		"admin-socket: /" + strings.Repeat("x", 107): "longer than 107 octets",
		"socket: /run/":                              "not the path of a file",
		"group: a b":                                 "a group's name has letters",
		"admin-group: " + strings.Repeat("g", 33):    "1 to 32 characters",
		"level: admin":                               "level",
	} {
		if _, _, err := Parse("x.yaml", []byte("api: {"+text+"}"+rest)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRemoteAPI: the API over TCP needs a way to recognise clients, and TLS wherever others could listen.
func TestRemoteAPI(t *testing.T) {
	const rest = "\nfrontends: [{name: ft, bind: [\"192.0.2.25:25\"], inspect-delay: 10s, default_backend: bk}]\nbackends: [{name: bk, servers: [{name: a, address: \"10.0.0.11:25\", check: true}]}]\n"
	cfg, warnings, err := Parse("x.yaml", []byte("api: {listen: \"[::]:9164\", crt: /c, ca-file: /a, admin-names: [b, c d], token-file: /t, admin-token-file: /s, page: signed-in}"+rest))
	want := RemoteAPI{"[::]:9164", "/c", "/a", []string{"b", "c d"}, "/t", "/s", PageSignedIn}
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(cfg.Global.RemoteAPI, want) {
		t.Errorf("%+v, %v, %v", cfg, warnings, err)
	}
	for _, text := range []string{
		`listen: "127.0.0.1:9164", token-file: /t`, `listen: "[::1]:9164", admin-token-file: /t`, `listen: "127.9.9.9:25", token-file: /t`,
		`listen: "192.0.2.25:9164", crt: /c, token-file: /t`, `listen: none`, `listen: "127.0.0.1:9164", page: everyone`, `listen: "127.0.0.1:9164", token-file: /t, page: none`,
		`listen: "192.0.2.1:25", crt: /c, ca-file: /a`,
	} {
		if _, warnings, err := Parse("x.yaml", []byte("api: {"+text+"}"+rest)); err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", text, warnings, err)
		}
	}
	for text, want := range map[string]string{
		`listen: "localhost:9164"`:                                          "x.yaml:1: listen: expected an address and port such as 127.0.0.1:9164, or none, found \"localhost:9164\": the address must be a number",
		`listen: "127.0.0.1:0", token-file: /t`:                             "port 0 is none",
		`listen: "127.0.0.1:9164"`:                                          "listen: needs api.ca-file, api.token-file or api.admin-token-file",
		`listen: "127.0.0.1:9164", crt: /c`:                                 "listen: needs api.ca-file, api.token-file or api.admin-token-file",
		`listen: "0.0.0.0:9164", token-file: /t`:                            "listen: api.crt is missing",
		`listen: "[::]:9164", token-file: /t`:                               "listen: api.crt is missing",
		`listen: "192.0.2.1:9164", token-file: /t`:                          "listen: api.crt is missing",
		`listen: "[fe80::1%eth0]:9164", token-file: /t`:                     "listen: api.crt is missing",
		`listen: "127.0.0.1:9164", ca-file: /a`:                             "ca-file: api.crt is missing",
		`listen: "127.0.0.1:9164", crt: /c, token-file: /t, admin-names: x`: "admin-names: api.ca-file is missing",
		`listen: "127.0.0.1:9164", token-file: t`:                           "token-file: expected the absolute path of a file, found \"t\": it is not absolute",
		`listen: "127.0.0.1:9164", token-file: /t, admin-token-file: /t`:    "admin-token-file: is api.token-file too",
		`listen: "127.0.0.1:9164", crt: /c, ca-file: /a, admin-names: [""]`: "admin-names",
		`listen: "127.0.0.1:9164", crt: /c, ca-file: /a, admin-names: []`:   "a list of at least one",
		`listen: "127.0.0.1:9164", page: signed-in`:                         "listen: needs api.ca-file, api.token-file or api.admin-token-file",
		`listen: "127.0.0.1:9164", token-file: /t, page: open`:              "page: expected none, signed-in or everyone, found \"open\"",
		`listen: "192.0.2.1:9164", crt: /c, token-file: /t, page: everyone`: "page: everyone may look only on a loopback address",
		`listen: "192.0.2.25:25", crt: /c, token-file: /t`:                  "listen: 192.0.2.25:25 is where frontend ft takes its clients",
		`listen: "0.0.0.0:25", crt: /c, token-file: /t`:                     "listen: 0.0.0.0:25 is where frontend ft takes its clients",
	} {
		if _, _, err := Parse("x.yaml", []byte("api: {"+text+"}"+rest)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
	if _, warnings, err := Parse("x.yaml", []byte("api: {page: signed-in}"+rest)); err != nil || !strings.Contains(fmt.Sprint(warnings), "api.page has no effect without api.listen") {
		t.Errorf("%v, %v", warnings, err)
	}
	if _, warnings, err := Parse("x.yaml", []byte("api: {crt: /c}"+rest)); err != nil || !strings.Contains(fmt.Sprint(warnings), "api.crt has no effect without api.listen") {
		t.Errorf("%v, %v", warnings, err)
	}
}
