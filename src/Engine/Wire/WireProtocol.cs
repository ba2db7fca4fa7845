using System.Security.Cryptography;
using System.Text;
using KvCache.Binary;

namespace KvCache.Engine.Wire;

/// <summary>Constants and proofs of the data plane. docs/protocol.md is the specification.</summary>
internal static class WireProtocol
{
    /// <summary>The version that this code speaks: of frames, of what silos tell each other, and of their grain calls.</summary>
    public const ushort Version = 2;

    /// <summary>The oldest version that this code still understands.</summary>
    public const ushort OldestVersion = 2;

    /// <summary>The version that two sides speak, the highest that both know; 0 when there is none.</summary>
    /// <param name="min">Oldest version of the other side.</param>
    /// <param name="max">Its newest version.</param>
    public static ushort Common(ushort min, ushort max) =>
        min <= Version && max >= OldestVersion && min <= max ? Math.Min(max, Version) : (ushort)0;

    /// <summary>Why another side is refused, in a sentence that both of them tell.</summary>
    /// <param name="who">The other side: "The client", "Silo X".</param>
    /// <param name="min">Oldest version of the other side.</param>
    /// <param name="max">Its newest version.</param>
    public static string Mismatch(string who, ushort min, ushort max) =>
        $"{who} speaks {Words(min, max)} of the data plane protocol; this silo speaks {Words(OldestVersion, Version)}. "
        + $"Update {(max < OldestVersion ? "the other side" : "this silo")}.";

    /// <summary>Tenant of the silos among themselves, whose secret is the cluster's. No tenant has an empty name.</summary>
    public const string PeerTenant = "";

    /// <summary>Bytes of a nonce.</summary>
    public const int NonceSize = 32;

    /// <summary>Bytes of a proof.</summary>
    public const int ProofSize = 32;

    /// <summary>
    /// Payloads of blocks begin at a multiple of this in their frame, so that they lie aligned in the kernel's socket buffers: copies out
    /// of step by a few bytes take up to a fifth longer.
    /// </summary>
    public const int PayloadAlignment = WireWriter.Alignment;

    /// <summary>Longest meta part: room for 16,384 hashes and their fields.</summary>
    public const int MaxMetaBytes = 1 << 20;

    /// <summary>Most blocks of one request.</summary>
    public const int MaxBlocksPerRequest = 16_384;

    /// <summary>Flag of a get: go on behind a block that is not stored, instead of ending there.</summary>
    public const byte GetContinuePastMisses = 1;

    /// <summary>Flag of a get: only what the silo itself holds, without asking other silos or Redis.</summary>
    public const byte GetLocalOnly = 2;

    /// <summary>Flag of a get of layers: blocks that are still being written are read while they are.</summary>
    public const byte GetFollow = 4;

    /// <summary>Flag of a get that names a hold: the hold ends with it.</summary>
    public const byte GetEndsHold = 8;

    /// <summary>Flag of a put: the blocks are to be written to Redis.</summary>
    public const byte PutPersisted = 1;

    /// <summary>Flag of a put: the payload has the first layer of all blocks, then the second of all, and so on.</summary>
    public const byte PutByLayers = 2;

    /// <summary>Flag of a put: blocks that are stored already keep the life that they have.</summary>
    public const byte PutKeepsLife = 4;

    /// <summary>Flag of a get of a value: its label and length, without its bytes.</summary>
    public const byte ValueLabelOnly = 1;

    /// <summary>Most bytes of a value's label.</summary>
    public const int MaxValueLabelBytes = 64 * 1024;

    /// <summary>Most bytes of a value: 64 KiB less than the largest block, for its label.</summary>
    public const int MaxValueBytes = (int)KvLayout.MaxBlockBytes - MaxValueLabelBytes;

    /// <summary>Layout of the namespaces of values. Every value brings its own, as they differ in size.</summary>
    public static KvLayout ValueLayout { get; } = KvLayout.Opaque(1, 1);

    /// <summary>A duration as it travels: whole milliseconds, rounded up.</summary>
    public static ulong Milliseconds(TimeSpan duration) => (ulong)Math.Max(0, Math.Ceiling(duration.TotalMilliseconds));

    /// <summary>A duration that has travelled; what no TimeSpan holds is as long as one can be.</summary>
    public static TimeSpan Duration(ulong milliseconds) =>
        milliseconds < (ulong)TimeSpan.MaxValue.TotalMilliseconds ? TimeSpan.FromMilliseconds((long)milliseconds) : TimeSpan.MaxValue;

    /// <summary>Most blocks of a put by layers: all of them are reserved at its begin.</summary>
    public const int MaxBlocksByLayers = 1024;

    /// <summary>Bytes of a put's payload: the blocks, and the checksums of their layers.</summary>
    public static long PutPayloadBytes(KvLayout layout, int blocks) => blocks * ((long)layout.BlockBytes + (layout.Layers * sizeof(uint)));

    /// <summary>Most namespaces of one match: the ranks of one prompt.</summary>
    public const int MaxNamespacesPerMatch = RankGroup.MaxRanks;

    /// <summary>Most copies that a put may ask for.</summary>
    public const int MaxCopies = StoreOptions.MaxReplicas;

    /// <summary>Most silos in the answer to a locate. Bit 63 of a run's mask stands for Redis.</summary>
    public const int MaxSilosPerLocate = 63;

    /// <summary>
    /// The client's proof: <c>HMAC-SHA256(secret, "kvcache.client.v1" ‖ client nonce ‖ server nonce ‖ tenant)</c> (RFC 2104).
    /// </summary>
    public static byte[] ClientProof(
        ReadOnlySpan<byte> secret, ReadOnlySpan<byte> clientNonce, ReadOnlySpan<byte> serverNonce, string tenant) =>
        Proof("kvcache.client.v1"u8, secret, clientNonce, serverNonce, tenant);

    /// <summary>The server's proof, with the label "kvcache.server.v1": the client knows that it talks to a silo of its cluster.</summary>
    public static byte[] ServerProof(
        ReadOnlySpan<byte> secret, ReadOnlySpan<byte> clientNonce, ReadOnlySpan<byte> serverNonce, string tenant) =>
        Proof("kvcache.server.v1"u8, secret, clientNonce, serverNonce, tenant);

    private static string Words(ushort min, ushort max) => min == max ? $"version {min}" : $"versions {min} to {max}";

    private static byte[] Proof(
        ReadOnlySpan<byte> label, ReadOnlySpan<byte> secret, ReadOnlySpan<byte> clientNonce, ReadOnlySpan<byte> serverNonce, string tenant)
    {
        using var mac = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, secret);
        mac.AppendData(label);
        mac.AppendData(clientNonce);
        mac.AppendData(serverNonce);
        mac.AppendData(Encoding.UTF8.GetBytes(tenant));
        return mac.GetHashAndReset();
    }
}
