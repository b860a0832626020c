package oracle

// arguments are tried in this order. The first ones are for single scripts that a later, wider one would match too.
var arguments = []argument{
	{
		title: "The window is smaller",
		text: `hushgate offers 4,096 octets while it holds a connection, because it reads nothing, and the window must not shrink when
the server's replaces it. The kernel offers 64 Ki. Numbers between the two are beyond hushgate's window and in the
kernel's. Both follow RFC 9293 section 3.10.7.4, and drop an RST beyond the window silently (RFC 5961 section 3.2).`,
		scripts: []string{
			"*: RST only in the kernel's window", "*: payload only in the kernel's window",
			"CLOSED: SYN before the window",
		},
	},
	{
		title: "Early talk is rejected",
		text: `This is the purpose of hushgate. One octet of payload in an acceptable segment, in order or beyond a hole, ends the
connection. The RST has exactly the number that the client expects (RFC 9293 section 3.10.7.4, RFC 5961 section 3.2).
No payload is acknowledged.`,
		scripts: []string{
			"SYN-RECEIVED: *", "SYN-RECEIVED with timestamps: *", "ESTABLISHED: *", "ESTABLISHED with timestamps: *",
			"LISTEN: payload in*", "LISTEN: FIN, then the payload before it",
		},
		linux: `^> \. 1:1\(0\) ack`, hushgate: `^> R\. 1:1\(0\) ack 1( <TS ecr \d+>)?$`,
	},
	{
		title: "A FIN is answered with a FIN",
		text: `A client that has finished sending cannot deliver mail. hushgate leaves CLOSE-WAIT at once: its own FIN acknowledges the
client's (RFC 9293 section 3.10.7.4, eighth check; section 3.6). The kernel acknowledges and waits for its application,
which is silent.`,
		scripts: []string{
			"SYN-RECEIVED: *", "SYN-RECEIVED with timestamps: *", "ESTABLISHED: *", "ESTABLISHED with timestamps: *",
			"LISTEN: FIN in the handshake's last ACK",
		},
		linux: `^> \. 1:1\(0\) ack 2`, hushgate: `^> F\. 1:1\(0\) ack 2`,
	},
	{
		title: "SACK blocks are not sent",
		text: `hushgate agrees on SACK because the server will send the blocks. While hushgate holds a connection it accepts no payload,
in order or not, so it has nothing to report. It does not report duplicates either, which RFC 2883 permits. The
acknowledgement itself is the same.`,
		scripts: []string{"SYN-RECEIVED with timestamps: *", "ESTABLISHED with timestamps: *"},
		linux:   `^> \. .*,sack `, hushgate: `^> \. `,
	},
	{
		title: "A SYN in the window of a half-open connection",
		text: `By RFC 9293 section 3.10.7.4, fourth check, a passive open returns to LISTEN. hushgate does this, and processes the SYN
there as a new one. (As always in LISTEN, SYN and FIN together are dropped, and a SYN-ACK gets the RST that answers an
ACK.) Linux forgets the connection as well but answers with an RST, as RFC 793 demanded: the client's next attempt
succeeds a second later. Linux checks the ACK of a SYN-ACK first; if its number is wrong, nothing changes there.`,
		scripts: []string{"SYN-RECEIVED*: SYN*", "SYN-RECEIVED*: another SYN, then its ACK", "SYN-RECEIVED: flags S*"},
		linux:   `^> (R\. seq 0 ack|\. 1:1\(0\) ack 1)`, hushgate: `^(nothing|> S\. 0:0\(0\)|> R 1:1\(0\)$)`,
	},
	{
		title: "A repeated SYN may offer other options",
		text: `Some stacks omit options from later SYNs, in case a middlebox dropped the first SYN because of them. They do not apply
these options from then on, and an answer may only contain what was offered (RFC 7323 sections 2.2 and 3.2, RFC 2018
section 2). hushgate keeps the options that both SYNs offer, and echoes the later timestamp (RFC 7323 section 4.3). Linux
answers every SYN as it answered the first.`,
		scripts: []string{"SYN-RECEIVED with timestamps: SYN again*"},
		linux:   `^> S\. 0:0\(0\) ack 1 <mss,sackOK,TS ecr 1000,wscale>$`, hushgate: `^> S\. 0:0\(0\) ack 1 <mss`,
	},
	{
		title: "The timestamp's echo is not checked in the handshake",
		text: `Linux refuses the handshake's last ACK if it echoes a timestamp that was never sent. No RFC demands this: RFC 7323
section 4 uses the echo to measure. The check would not help against forgers, who have guessed the ACK number already,
and some middleboxes rewrite timestamps wrongly.`,
		scripts: []string{"SYN-RECEIVED with timestamps: ACK, echo *"},
		linux:   `^> \. 1:1\(0\) ack 1`, hushgate: `^nothing$`,
	},
	{
		title: "An old timestamp is answered",
		text: `RFC 7323 section 5.3, R1, demands an acknowledgement for a segment that PAWS refuses. Linux no longer answers such
segments without payload. hushgate does, within the limit for challenge ACKs.`,
		scripts: []string{
			"ESTABLISHED with timestamps: ACK, timestamp earlier", "*with timestamps: ACK, timestamp much later",
			"*with timestamps: keep-alive, timestamp later, then one between", "TIME-WAIT with timestamps: a new SYN with a later timestamp, and its ACK",
		},
		linux: `^nothing$`, hushgate: `^> \. \d+:\d+\(0\) ack \d+ <TS`,
	},
	{
		title:   "An RST with an old timestamp is accepted",
		text:    "RFC 7323 section 5.3, R1, applies PAWS to all segments except RSTs. In SYN-RECEIVED and TIME-WAIT Linux applies it to RSTs, too.",
		scripts: []string{"*with timestamps: RST, timestamp earlier"},
		linux:   `^> \. \d+:\d+\(0\) ack`, hushgate: `^> R `,
	},
	{
		title: "The sequence number is checked before the ACK",
		text: `A new connection has replaced one in TIME-WAIT and is half-open. Then a late segment of the old connection arrives. RFC
9293 section 3.10.7.4 checks the sequence number first and answers with an ACK. Linux checks the ACK first and answers
with an RST. Neither gives the new connection up.`,
		scripts: []string{"TIME-WAIT*: SYN *"},
		linux:   `^> R 28:28\(0\)$`, hushgate: `^> \. 1:1\(0\) ack`,
	},
	{
		title: "Text in TIME-WAIT is ignored",
		text: `By RFC 9293 section 3.10.7.4, seventh and eighth checks, text after the client's FIN is ignored, because there should be
none; by the fifth check a segment without ACK is dropped. Linux answers every segment except an ACK at RCV.NXT.`,
		scripts: []string{"TIME-WAIT*: *"},
		linux:   `^> \. 28:28\(0\) ack 10`, hushgate: `^nothing$`,
	},
	{
		title: "FIN-WAIT-2 and TIME-WAIT are full states",
		text: `After the application has closed, Linux keeps only a small structure in these states and checks less. It does not check the
ACK number. An RST beyond RCV.NXT is dropped, or ends FIN-WAIT-2. A SYN in the window ends FIN-WAIT-2 with an RST.
hushgate applies RFC 5961 (sections 3.2, 4.2 and 5.2) in all states: it sends a challenge ACK, and nothing changes.`,
		scripts: []string{
			"FIN-WAIT-2: RST*", "FIN-WAIT-2: ACK *", "FIN-WAIT-2: SYN*", "FIN-WAIT-2: FIN and ACK of octets never sent",
			"TIME-WAIT*: RST*", "TIME-WAIT*: ACK *",
		},
	},
	{
		title: "Payload after our reply is acknowledged",
		text: `After hushgate has sent the reason for a rejection it closes, but still acknowledges what the client sends, and discards
it. Linux answers with an RST (RFC 9293 section 3.6.1: payload that no application will read). The client's TCP may then
discard our reply before it is read.`,
		scripts: []string{"FIN-WAIT-1: *", "FIN-WAIT-2: *"},
		linux:   `^> R \d+:\d+\(0\)$`, hushgate: `^> \. 28:28\(0\) ack`,
	},
	{
		title: "The ACK of old payload is ignored",
		text: `A segment that ends at RCV.NXT is not acceptable (RFC 9293 section 3.10.7.4, first check): hushgate answers with an ACK
and processes nothing else. Linux processes its ACK, and so changes state one segment earlier. When our FIN is repeated,
the client acknowledges it again.`,
		scripts: []string{
			"LAST-ACK: *", "FIN-WAIT-1: *", "CLOSING: keep-alive*", "CLOSING: payload received before",
			"CLOSING: FIN again",
		},
		linux: `^nothing$`, hushgate: `^> \. \d+:\d+\(0\) ack`,
	},
	{
		title: "A second FIN, after the first, is answered",
		text: `In CLOSING a FIN at RCV.NXT contradicts the previous one. Both hushgate and Linux process its ACK and change to TIME-WAIT,
and neither accepts the FIN. hushgate sends an ACK, as it does for a repeated FIN.`,
		scripts: []string{"CLOSING: *FIN*"},
		linux:   `^nothing$`, hushgate: `^> \. 28:28\(0\) ack 10$`,
	},
	{
		title: "An RST one octet below RCV.NXT",
		text: `Some stacks send an RST after their FIN with the FIN's own number. Linux accepts it because of them. RFC 5961 section 3.2
does not. hushgate repeats its FIN a few times and then forgets the connection, whose end has already been logged.`,
		scripts: []string{"LAST-ACK: RST one octet below RCV.NXT", "CLOSING: RST one octet below RCV.NXT"},
		linux:   `^> R \d+:\d+\(0\)$`, hushgate: `^> \. \d+:\d+\(0\) ack`,
	},
	{
		title: "A repeated SYN gets the same ISS",
		text: `Our ISS is a keyed function of the 4-tuple, the client's own ISN and a clock of minutes (RFC 6528 with a slow clock). A
client that opens the same 4-tuple again with the same ISN gets the same ISS; with any other ISN it gets another one.`,
		scripts: []string{"CLOSED: SYN again*"},
		linux:   `, another ISS$`, hushgate: `^> S\. 0:0\(0\) ack 1 <mss>$`,
	},
	{
		title: "ECN is not negotiated",
		text: `RFC 3168 section 6.1.1 leaves ECN to the server. hushgate answers before it knows which mail server the client will get.
That server may not support ECN, and mail does not need it.`,
		scripts: []string{"LISTEN: SYN, ECN", "LISTEN: SYN, reserved bit of accurate ECN"},
		linux:   `^> SE\. `, hushgate: `^> S\. `,
	},
	{
		title: "An MD5 signature is ignored",
		text: `Linux drops a signed SYN if no key is set for the peer. hushgate ignores the option like any unknown option (RFC 9293
section 3.1). The client finds no signature in the answer, and drops it (RFC 2385 section 2).`,
		scripts: []string{"LISTEN: SYN, MD5 signature"},
		linux:   `^nothing$`, hushgate: `^> S\. `,
	},
	{
		title: "IPv4 options are not answered",
		text: `Linux fills in the record route and timestamp options that it receives and returns them, as RFC 1122 section 4.2.3.8
allows. hushgate accepts packets with these options and answers without them: its own packets do not need them, and many
networks drop packets with IP options.`,
		scripts: []string{"LISTEN: SYN, IPv4 option record route", "LISTEN: SYN, IPv4 option timestamp"},
		linux:   `, IP options$`, hushgate: `^> S\. .*>$`,
	},
	{
		title: "Bad IPv6 headers are dropped silently",
		text: `Linux reports these by ICMPv6: a hop-by-hop header that is not the first, segments left in a routing header, an option
that demands a report, and a fragment whose length is not a multiple of eight. hushgate drops and counts them. It is a
gateway, and sends no errors of its own about packets that no TCP sends.`,
		scripts: []string{
			"*: *, IPv6 hop-by-hop header not first", "*: *, IPv6 routing header*",
			"*: keep-alive, IPv6 fragment without its rest",
			"*: *, IPv6 destination options, option to be reported",
		},
		linux: `^> ICMPv6 `, hushgate: `^nothing$`,
	},
}
