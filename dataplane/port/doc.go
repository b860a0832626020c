// Package port moves frames between the core and the network: an AFPacket receives and sends on one interface, by packet
// sockets, and a Poller waits for several of them. It knows frames and interfaces; it does not know TCP, and makes no
// decisions.
//
// A frame begins with a virtio_net_hdr, as everywhere in hushgate (see internal/wire): the kernel puts it there
// (PACKET_VNET_HDR) and obeys it on the way out. So partial checksums and super-frames of up to 64 KiB, which veth, virtio
// and many network cards deliver, pass through unchanged.
package port
