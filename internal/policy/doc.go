// Package policy decides how a client is treated: how long it waits for the banner, what it gets if it talks before, whether
// it is let in at all. It is pure: no I/O, no clock, no lock.
//
// It has two halves. A Table is what the configuration says; it never changes, and all shards share it. A Memory is what one
// shard knows of its clients: who has a pass, who has how many connections, who has talked early. Table.Treat brings the two
// together, once for each connection, when its handshake is complete: nothing that a spoofed SYN does is ever counted or
// remembered. What comes out is the number of a Treatment. All treatments that are possible are worked out when the table is
// built, so that a decision makes nothing, and a connection's record holds a number.
//
// The steps, each of which may end the decision:
//
//	handshake complete
//	      |
//	      v                      the client's connections are counted, this one included
//	1. admission rules --------> reject, silent-drop        (HAProxy: tcp-request connection; accept ends these rules alone)
//	      |
//	      v
//	2. access rules -----------> accept: no delay, no limit, no DNS list, early talk is legal
//	      |   |                  reject, silent-drop, tarpit
//	      |   +-- delay T, another answer to early talk: go on with that; dunno: go on
//	      v
//	3. limits -----------------> RST, a text, silent-drop   (concurrent connections, new ones in a time)
//	      |
//	      v
//	4. pass -------------------> old: pass-delay            (none: gets one when a server has greeted it; veto: gets none)
//	      |
//	      v
//	5. offender ---------------> tarpit, reject, silent-drop (the kernel drops SYNs of others before anything is asked)
//	      |   +-- a longer delay: go on with that
//	      v
//	   the delay, while which DNS lists are asked: reject, tarpit, a longer delay, or the delay ends (Table.Outcomes)
//
// A pass is looked at before offences, because it is the better knowledge: early talk would have taken it. Stress (6) is no step
// of its own: in every step there is a treatment with the shorter delay beside the one with the usual delay.
//
// What the shard has to do in return: call Memory.Passed when a server greets a client whose treatment is PassNew,
// Memory.Talked at early talk, Memory.Closed at the end of a connection whose treatment is Counted, and
// Signatures.Hold and Release for the SYN and the end of each connection. Connections that are refused at once are not counted,
// so that a client over its limit gets in again when one of its connections ends, however often it has tried.
//
// A client is an address cut to a prefix length, /32 and /64 by default. A shard knows its own clients alone. The fan-out cuts
// addresses likewise before it selects a shard (port.Prefix), so that a client belongs to one.
//
// The package does not know where lists, DNS answers and saved passes come from: List is an interface, DNS.Judge takes the sites
// that have answered, and passes and offenders are saved as values with an age.
//
// Start with Table.Treat in treat.go, which has the steps in this order, then rule.go and treatment.go. Memory in memory.go
// has passes (passes.go), connections (clients.go), offenders (offenders.go) and signatures (signatures.go); save.go is what is
// saved of them.
package policy
