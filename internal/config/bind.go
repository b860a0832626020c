package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// rawBind is one address and port of a bind line.
type rawBind struct {
	Bind
	line int
	text string // as it was written
}

// bind handles `bind ADDR:PORT[,...] [SETTINGS]`.
func (p *haproxyParser) bind(args []string, _ bool) {
	given := p.bindSettings(args[1:])
	for _, address := range strings.Split(args[0], ",") {
		binds, err := parseBind(address)
		if err != nil {
			p.add(Error{Line: p.line, Keyword: "bind", Expected: wantBind, Found: quote(address), Reason: err.Error()})
			continue
		}
		for _, b := range binds {
			b.Interface = given.device
			// A socket on [::] takes IPv4 as well, also when it was written ipv6@:. In HAProxy v6only wins over v4v6 in any
			// order, and both have no effect on an IPv4 address.
			b.AnyFamily = b.AnyFamily || b.Addr == netip.IPv6Unspecified()
			b.AnyFamily = b.AnyFamily && !given.only6
			p.proxy.binds = append(p.proxy.binds, rawBind{b, p.line, address})
		}
	}
}

// bindSettings reads the settings after the address. Like serverSettings, it reads on after a word that it does not know.
func (p *haproxyParser) bindSettings(args []string) (given bindWords) {
	var refused refusals
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if !knownBindWord(word) {
			near := p.unknown(p.line, "bind", word, "setting", knownBindSettings())
			if near == "" {
				if i := slices.IndexFunc(args, knownBindWord); i >= 0 {
					args = args[i:]
					continue
				}
				break
			}
			word = near
		}
		args = p.bindSetting(&given, &refused, word, args)
	}
	refused.report(p, "bind")
	return given
}

// bindSetting reads one setting with its values, and returns the words after it.
func (p *haproxyParser) bindSetting(given *bindWords, no *refusals, word string, args []string) (rest []string) {
	if refused, ok := refusedBindSettings[word]; ok {
		no.add(word, refused.why)
		return args[min(refused.values, len(args)):]
	}
	one, values := findWord(bindSettings, word), 1
	if one != nil {
		values = one.values
	}
	if values > 0 && argument(args) == "" {
		p.expected(p.line, "bind "+word, "a value", "")
		return args[min(1, len(args)):]
	}
	if one == nil {
		p.note(p.line, "bind %s is ignored: %s", word, aboutSockets)
	} else {
		one.line(p, given, "bind "+word, args[:values], false)
	}
	return args[values:]
}

func knownBindWord(word string) bool {
	_, refused := refusedBindSettings[word]
	return refused || findWord(bindSettings, word) != nil || slices.Contains(ignoredBindSettings, word)
}

// knownBindSettings lists the settings that may follow a bind's address.
func knownBindSettings() []string {
	known := slices.Concat(wordsAfter(bindSettings, ""), ignoredBindSettings)
	slices.Sort(known)
	return known
}

// bindWords holds the settings of a bind line other than its addresses. In YAML they are keys of the bind.
type bindWords struct {
	address at[string]
	device  string
	only6   bool
}

// bindTable makes bindSettings.
func bindTable() []setting[bindWords] {
	noEffect := func(values int) kind[bindWords] {
		return kind[bindWords]{values: values, line: func(*haproxyParser, *bindWords, string, []string, bool) bool { return false }}
	}
	return []setting[bindWords]{
		{key: "address", kind: ofNode(func(r *yamlReader, b *bindWords, key string, node ast.Node) {
			b.address, _ = r.text(key, wantBind, node)
		})},
		{
			word: "interface", key: "interface", about: "of an ADDR left out", otherwise: "all outside interfaces",
			kind: bindInterface(),
		},
		{word: "v4v6", about: "families of `[::]`", otherwise: "`v4v6`", kind: noEffect(0)},
		{
			word: "v6only", about: "families of `[::]`", otherwise: "`v4v6`",
			kind: boolean(func(b *bindWords) *bool { return &b.only6 }, false),
		},
		{word: "name", about: "accepted, no effect", kind: noEffect(1)},
		{word: "transparent", about: "accepted, no effect", kind: noEffect(0)},
	}
}

const wantBind = "[ADDR]:PORT"

func bindInterface() kind[bindWords] {
	const want = "an interface's name"
	k := text(func(b *bindWords) *string { return &b.device }, "", want, checkInterface)
	k.values = 1
	return k.byLine(func(p *haproxyParser, b *bindWords, name string, args []string, _ bool) bool {
		if checkInterface(args[0]) != nil {
			p.expected(p.line, name, want, args[0])
			return false
		}
		b.device = args[0]
		return true
	})
}

// ignoredBindSettings lists the settings without effect. Each takes one value.
var ignoredBindSettings = []string{
	"backlog", "maxconn", "nice", "id", "process", "thread", "shards", "tcp-ut", "user", "uid", "group", "gid", "mode",
}

// The reasons for which settings of a bind are refused.
const (
	ownAddress = "hushgate identifies clients by the source address of their packets"
	endsNoTLS  = "hushgate does not terminate TLS, and with TLS from the start the client speaks first"
	notStats   = "it is about HAProxy's control socket"
)

var refusedBindSettings = map[string]refusedSetting{
	"accept-netscaler-cip":  {1, ownAddress},
	"accept-proxy":          {0, ownAddress},
	"allow-0rtt":            {0, endsNoTLS},
	"alpn":                  {1, endsNoTLS},
	"ca-file":               {1, endsNoTLS},
	"ca-ignore-err":         {1, endsNoTLS},
	"ca-sign-file":          {1, endsNoTLS},
	"ca-sign-pass":          {1, endsNoTLS},
	"ca-verify-file":        {1, endsNoTLS},
	"ciphers":               {1, endsNoTLS},
	"ciphersuites":          {1, endsNoTLS},
	"crl-file":              {1, endsNoTLS},
	"crt":                   {1, endsNoTLS},
	"crt-ignore-err":        {1, endsNoTLS},
	"crt-list":              {1, endsNoTLS},
	"curves":                {1, endsNoTLS},
	"defer-accept":          {0, "it waits for the client to speak, and an SMTP client waits for the server"},
	"ecdhe":                 {1, endsNoTLS},
	"expose-fd":             {1, notStats},
	"force-sslv3":           {0, endsNoTLS},
	"force-tlsv10":          {0, endsNoTLS},
	"force-tlsv11":          {0, endsNoTLS},
	"force-tlsv12":          {0, endsNoTLS},
	"force-tlsv13":          {0, endsNoTLS},
	"generate-certificates": {0, endsNoTLS},
	"level":                 {1, notStats},
	"mss":                   {1, "the MSS follows from the servers and the interfaces"},
	"namespace":             {1, "start hushgate in the namespace"},
	"no-ca-names":           {0, endsNoTLS},
	"no-sslv3":              {0, endsNoTLS},
	"no-tls-tickets":        {0, endsNoTLS},
	"no-tlsv10":             {0, endsNoTLS},
	"no-tlsv11":             {0, endsNoTLS},
	"no-tlsv12":             {0, endsNoTLS},
	"no-tlsv13":             {0, endsNoTLS},
	"npn":                   {1, endsNoTLS},
	"prefer-client-ciphers": {0, endsNoTLS},
	"proto":                 {1, aboutHTTP},
	"severity-output":       {1, notStats},
	"ssl":                   {0, endsNoTLS},
	"ssl-max-ver":           {1, endsNoTLS},
	"ssl-min-ver":           {1, endsNoTLS},
	"strict-sni":            {0, endsNoTLS},
	"tfo":                   {0, "data in a SYN is ignored"},
	"tls-ticket-keys":       {1, endsNoTLS},
	"verify":                {1, endsNoTLS},
}
