package config

import (
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
