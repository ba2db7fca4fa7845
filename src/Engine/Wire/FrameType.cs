namespace KvCache.Engine.Wire;

/// <summary>What a frame is. Responses have the type of their request with the high bit set. docs/protocol.md defines each.</summary>
internal enum FrameType : byte
{
    /// <summary>First frame of a connection: versions, tenant, client nonce.</summary>
    Hello = 1,

    /// <summary>Proof that the client knows the tenant's secret.</summary>
    Authenticate = 2,

    /// <summary>Announces a namespace and gets a handle for it.</summary>
    OpenNamespace = 3,

    /// <summary>How much of a chain is stored.</summary>
    Match = 4,

    /// <summary>Bytes of blocks.</summary>
    Get = 5,

    /// <summary>Stores blocks of one chain.</summary>
    Put = 6,

    /// <summary>Keeps blocks from eviction, or no longer.</summary>
    Pin = 7,

    /// <summary>Deletes blocks.</summary>
    Delete = 8,

    /// <summary>Ends the hold of a match.</summary>
    Release = 9,

    /// <summary>Counters of the silo.</summary>
    Stat = 10,

    /// <summary>Asks the silo to check a block whose bytes arrived damaged.</summary>
    Verify = 11,

    /// <summary>Which silos hold a chain's blocks.</summary>
    Locate = 12,

    /// <summary>Asks to read the silo's memory in place; Unix sockets only.</summary>
    MapArena = 13,

    /// <summary>Places of blocks in the mapped arena, and a lease on them.</summary>
    GetMapped = 14,

    /// <summary>Stores blocks that lie in the lent segment.</summary>
    PutMapped = 15,

    /// <summary>Among silos: bytes of blocks of any namespace, with everything that a copy has to know.</summary>
    PeerGet = 16,

    /// <summary>Among silos: what changed since a number.</summary>
    PeerDeltas = 17,

    /// <summary>Among silos: everything that a silo holds.</summary>
    PeerSnapshot = 18,

    /// <summary>Bytes of blocks, layer by layer.</summary>
    GetLayers = 19,

    /// <summary>Sets the life of blocks.</summary>
    Expire = 20,

    /// <summary>Deletes all blocks of a namespace.</summary>
    Clear = 21,

    /// <summary>What is known of a chain after it was used.</summary>
    Hint = 22,

    /// <summary>Stores a value, in place of what is stored under its name.</summary>
    PutValue = 23,

    /// <summary>A value, whatever its size.</summary>
    GetValue = 24,

    /// <summary>Answer to <see cref="Hello"/>: version, server nonce.</summary>
    HelloReply = 0x81,

    /// <summary>Answer to <see cref="Authenticate"/>: the server's proof and its limits.</summary>
    AuthenticateReply = 0x82,

    /// <summary>Answer to <see cref="OpenNamespace"/>.</summary>
    OpenNamespaceReply = 0x83,

    /// <summary>Answer to <see cref="Match"/>.</summary>
    MatchReply = 0x84,

    /// <summary>One block in answer to <see cref="Get"/>.</summary>
    GetBlock = 0x85,

    /// <summary>Answer to <see cref="Put"/>.</summary>
    PutReply = 0x86,

    /// <summary>Answer to <see cref="Pin"/>.</summary>
    PinReply = 0x87,

    /// <summary>Answer to <see cref="Delete"/>.</summary>
    DeleteReply = 0x88,

    /// <summary>Answer to <see cref="Release"/>.</summary>
    ReleaseReply = 0x89,

    /// <summary>Answer to <see cref="Stat"/>.</summary>
    StatReply = 0x8A,

    /// <summary>Answer to <see cref="Verify"/>.</summary>
    VerifyReply = 0x8B,

    /// <summary>Answer to <see cref="Locate"/>.</summary>
    LocateReply = 0x8C,

    /// <summary>Answer to <see cref="MapArena"/>.</summary>
    MapArenaReply = 0x8D,

    /// <summary>Answer to <see cref="GetMapped"/>.</summary>
    GetMappedReply = 0x8E,

    /// <summary>Answer to <see cref="PutMapped"/>.</summary>
    PutMappedReply = 0x8F,

    /// <summary>One block in answer to <see cref="PeerGet"/>.</summary>
    PeerBlock = 0x90,

    /// <summary>Answer to <see cref="PeerDeltas"/>.</summary>
    PeerDeltasReply = 0x91,

    /// <summary>One page in answer to <see cref="PeerSnapshot"/>.</summary>
    PeerSnapshotPage = 0x92,

    /// <summary>Layers in answer to <see cref="GetLayers"/>.</summary>
    LayerPieces = 0x93,

    /// <summary>Answer to <see cref="Expire"/>.</summary>
    ExpireReply = 0x94,

    /// <summary>Answer to <see cref="Clear"/>.</summary>
    ClearReply = 0x95,

    /// <summary>Answer to <see cref="Hint"/>.</summary>
    HintReply = 0x96,

    /// <summary>Answer to <see cref="PutValue"/>.</summary>
    PutValueReply = 0x97,

    /// <summary>Answer to <see cref="GetValue"/>.</summary>
    GetValueReply = 0x98,

    /// <summary>Last frame in answer to <see cref="Get"/>.</summary>
    GetEnd = 0xA5,

    /// <summary>Last frame in answer to <see cref="PeerGet"/>.</summary>
    PeerGetEnd = 0xB0,

    /// <summary>Last frame in answer to <see cref="PeerSnapshot"/>.</summary>
    PeerSnapshotEnd = 0xB2,

    /// <summary>Last frame in answer to <see cref="GetLayers"/>.</summary>
    GetLayersEnd = 0xB3,

    /// <summary>First frame in answer to <see cref="GetLayers"/>: which blocks follow.</summary>
    GetLayersReply = 0xD3,

    /// <summary>A request or the connection failed; the meta part has a sentence.</summary>
    Error = 0xFF,
}
