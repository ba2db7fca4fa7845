using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;
using KvCache.Binary;

namespace KvCache;

/// <summary>
/// Everything that makes the KV of equal tokens interchangeable. Two engines share blocks exactly when all fields are equal.
/// </summary>
/// <remarks>
/// The id is that of the tenant and a SHA-256 over tagged, length-prefixed fields (docs/hashing.md): no two different namespaces meet by
/// concatenation. The same encoding travels in the protocol's open message, so that a silo computes the id itself and
/// can check the tenant.
/// </remarks>
public sealed record CacheNamespace
{
    /// <summary>Longest text field, in bytes of UTF-8.</summary>
    public const int MaxTextBytes = 256;

    /// <summary>Most entries of <see cref="Fields"/>.</summary>
    public const int MaxFields = 64;

    private const byte TenantTag = 1, ModelTag = 2, RevisionTag = 3, LoraTag = 4, RankTag = 5, SizeTag = 6, SaltTag = 7, LayoutTag = 8;
    private const byte NumbersTag = 9, FieldsTag = 10;
    private const int MaxFieldsBytes = MaxFields * 2 * (sizeof(uint) + MaxTextBytes);

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private Identity? _identity;

    /// <summary>Creates a namespace from its fields.</summary>
    public CacheNamespace()
    {
    }

    // A copy made by `with` has other fields, so it must not inherit what was computed from the original's.
    [SetsRequiredMembers]
    private CacheNamespace(CacheNamespace original)
    {
        Tenant = original.Tenant;
        Model = original.Model;
        Revision = original.Revision;
        LoraAdapter = original.LoraAdapter;
        TensorParallelRank = original.TensorParallelRank;
        TensorParallelSize = original.TensorParallelSize;
        Salt = original.Salt;
        Layout = original.Layout;
        NumberFormat = original.NumberFormat;
        Fields = original.Fields;
    }

    /// <summary>Owner of the blocks; a connection sees only namespaces of the tenant that it authenticated as.</summary>
    public required string Tenant
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    }

    /// <summary>Name of the model.</summary>
    public required string Model
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    }

    /// <summary>Revision of the model's weights: KV of other weights must never be mixed in.</summary>
    public string Revision
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    } = "";

    /// <summary>LoRA adapter and its version; empty for the base model.</summary>
    public string LoraAdapter
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    } = "";

    /// <summary>Tensor-parallel rank whose heads the blocks hold, from 0.</summary>
    public int TensorParallelRank { get; init; }

    /// <summary>Number of tensor-parallel ranks, at least 1.</summary>
    public int TensorParallelSize { get; init; } = 1;

    /// <summary>Separates callers inside one tenant who must not share prefixes; empty for none.</summary>
    public string Salt
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    } = "";

    /// <summary>Shape of a block.</summary>
    public required KvLayout Layout
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    }

    /// <summary>
    /// The engine's own name of how numbers are encoded ("fp8_e4m3", "nvfp4"), where the layout's element type does not say it: engines
    /// keep several formats in tensors of bytes, and equal shapes with unequal formats must not meet. Empty when the layout says
    /// everything.
    /// </summary>
    public string NumberFormat
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    } = "";

    /// <summary>
    /// Whatever else changes the meaning of the bytes, by name: quantization scales, overrides of the model's configuration, how heads are
    /// split. Up to
    /// <see cref="MaxFields"/> entries; order does not matter.
    /// </summary>
    public IReadOnlyDictionary<string, string> Fields
    {
        get;
        init => field = (value ?? throw new ArgumentNullException(nameof(value)))
            .ToFrozenDictionary(StringComparer.Ordinal); // a copy: what is computed from it stays true
    } = FrozenDictionary<string, string>.Empty;

    /// <summary>Id of this namespace.</summary>
    /// <exception cref="ArgumentException">A field is out of its bounds.</exception>
    public NamespaceId Id => Known.Id;

    /// <summary>Canonical encoding: for each field in tag order, tag (1 byte), length (4 bytes, little-endian), value.</summary>
    /// <exception cref="ArgumentException">A field is out of its bounds.</exception>
    public ReadOnlySpan<byte> Encoded => Known.Encoded;

    // One reference, so that a thread sees all of what another one has computed, or nothing.
    private Identity Known => _identity ??= Identify(Encode());

    /// <summary>Parses a canonical encoding.</summary>
    /// <exception cref="KvFormatException">A field is missing, repeated, out of order or out of its bounds.</exception>
    public static CacheNamespace Decode(ReadOnlySpan<byte> encoded)
    {
        var reader = new WireReader(encoded);
        try
        {
            var result = new CacheNamespace
            {
                Tenant = TextField(ref reader, TenantTag, nameof(Tenant)),
                Model = TextField(ref reader, ModelTag, nameof(Model)),
                Revision = TextField(ref reader, RevisionTag, nameof(Revision)),
                LoraAdapter = TextField(ref reader, LoraTag, nameof(LoraAdapter)),
                TensorParallelRank = NumberField(ref reader, RankTag, nameof(TensorParallelRank)),
                TensorParallelSize = NumberField(ref reader, SizeTag, nameof(TensorParallelSize)),
                Salt = TextField(ref reader, SaltTag, nameof(Salt)),
                Layout = LayoutField(ref reader),
                NumberFormat = TextField(ref reader, NumbersTag, nameof(NumberFormat)),
                Fields = FieldsField(ref reader),
            };
            reader.End();
            if (!result.Encoded.SequenceEqual(encoded))
                throw new KvFormatException("The namespace is not in its canonical encoding.");
            return result;
        }
        catch (ArgumentException e)
        {
            throw new KvFormatException($"The namespace is not valid: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public bool Equals(CacheNamespace? other) => other is not null && Encoded.SequenceEqual(other.Encoded);

    /// <inheritdoc/>
    public override int GetHashCode() => Id.GetHashCode();

    /// <summary>For logs: no salt, which may be a secret of the caller.</summary>
    public override string ToString() =>
        $"{Tenant}/{Model}{(Revision.Length > 0 ? "@" + Revision : "")}{(LoraAdapter.Length > 0 ? "+" + LoraAdapter : "")} "
        + $"rank {TensorParallelRank}/{TensorParallelSize}, {(NumberFormat.Length > 0 ? NumberFormat + ", " : "")}{Layout}";

    /// <summary>A text as it is hashed. A replacement character would stand for any half of a pair, and two namespaces would be
    /// one.</summary>
    internal static byte[] Utf8Of(string value, string name)
    {
        try
        {
            return StrictUtf8.GetBytes(value);
        }
        catch (EncoderFallbackException e)
        {
            throw new ArgumentException($"{name} is not well-formed UTF-16: it has half of a surrogate pair at index {e.Index}.", e);
        }
    }

    private Identity Identify(byte[] encoded)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        sha.AppendData("kvcache.namespace.v1"u8);
        sha.AppendData(encoded);
        sha.GetHashAndReset(hash);
        return new Identity(encoded, new NamespaceId(TenantId.Of(Tenant), BitConverter.ToUInt64(hash)));
    }

    private byte[] Encode()
    {
        if (Tenant.Length == 0)
            throw new ArgumentException("A namespace needs a tenant; the single-tenant default is \"default\".");
        if (TensorParallelSize is < 1 or > 65536 || TensorParallelRank < 0 || TensorParallelRank >= TensorParallelSize)
            throw new ArgumentException(
                "A tensor-parallel rank lies in 0..size-1 and the size in 1..65536; "
                + $"got rank {TensorParallelRank} of {TensorParallelSize}.");
        var writer = new WireWriter();
        WriteText(writer, TenantTag, Tenant, nameof(Tenant));
        WriteText(writer, ModelTag, Model, nameof(Model));
        WriteText(writer, RevisionTag, Revision, nameof(Revision));
        WriteText(writer, LoraTag, LoraAdapter, nameof(LoraAdapter));
        WriteNumber(writer, RankTag, TensorParallelRank);
        WriteNumber(writer, SizeTag, TensorParallelSize);
        WriteText(writer, SaltTag, Salt, nameof(Salt));
        WriteLayout(writer, Layout);
        WriteText(writer, NumbersTag, NumberFormat, nameof(NumberFormat));
        WriteFields(writer, Fields);
        return writer.Written.ToArray();
    }

    private static void WriteText(WireWriter writer, byte tag, string value, string name)
    {
        var bytes = TextBytes(value, name);
        writer.UInt8(tag);
        writer.UInt32((uint)bytes.Length);
        writer.Bytes(bytes);
    }

    private static byte[] TextBytes(string value, string name)
    {
        var bytes = Utf8Of(value, name);
        return bytes.Length <= MaxTextBytes
            ? bytes
            : throw new ArgumentException($"{name} has {bytes.Length} bytes of UTF-8; at most {MaxTextBytes} are accepted.");
    }

    /// <summary>Why a text can be no field of a namespace, in a sentence; null when it can.</summary>
    internal static string? FindTextProblem(string name, string value)
    {
        try
        {
            _ = TextBytes(value, name);
            return null;
        }
        catch (ArgumentException e)
        {
            return e.Message;
        }
    }

    private static void WriteFields(WireWriter writer, IReadOnlyDictionary<string, string> fields)
    {
        if (fields.Count > MaxFields)
            throw new ArgumentException($"{nameof(Fields)} has {fields.Count} entries; at most {MaxFields} are accepted.");
        var entries = fields.Select(field => (
            Name: TextBytes(field.Key, $"A name in {nameof(Fields)}"),
            Value: TextBytes(field.Value, $"{nameof(Fields)}[{field.Key}]"))).ToArray();
        Array.Sort(entries, (a, b) => a.Name.AsSpan().SequenceCompareTo(b.Name));
        if (entries.Length > 0 && entries[0].Name.Length == 0)
            throw new ArgumentException($"A name in {nameof(Fields)} is empty.");
        writer.UInt8(FieldsTag);
        writer.UInt32((uint)entries.Sum(entry => (2 * sizeof(uint)) + entry.Name.Length + entry.Value.Length));
        foreach (var (name, value) in entries)
        {
            writer.UInt32((uint)name.Length);
            writer.Bytes(name);
            writer.UInt32((uint)value.Length);
            writer.Bytes(value);
        }
    }

    private static void WriteNumber(WireWriter writer, byte tag, int value)
    {
        writer.UInt8(tag);
        writer.UInt32(4);
        writer.UInt32((uint)value);
    }

    private static void WriteLayout(WireWriter writer, KvLayout layout)
    {
        writer.UInt8(LayoutTag);
        writer.UInt32((uint)layout.EncodedBytes);
        layout.WriteTo(writer);
    }

    private static int Field(ref WireReader reader, byte tag, int maxLength, string name)
    {
        var actual = reader.UInt8();
        if (actual != tag)
            throw new KvFormatException($"The namespace field {name} (tag {tag}) was expected, tag {actual} was found.");
        return reader.Count(maxLength, name);
    }

    private static string TextField(ref WireReader reader, byte tag, string name)
    {
        var bytes = reader.Bytes(Field(ref reader, tag, MaxTextBytes, name));
        return Encoding.UTF8.GetString(bytes); // bytes that are not UTF-8 fail the canonical comparison
    }

    private static int NumberField(ref WireReader reader, byte tag, string name)
    {
        var length = Field(ref reader, tag, 4, name);
        return length == 4 ? (int)reader.UInt32() : throw new KvFormatException($"The namespace field {name} has 4 bytes, got {length}.");
    }

    private static KvLayout LayoutField(ref WireReader reader)
    {
        _ = Field(ref reader, LayoutTag, KvLayout.MaxEncodedBytes, nameof(Layout)); // a wrong length fails the canonical comparison
        return KvLayout.Read(ref reader);
    }

    private static Dictionary<string, string> FieldsField(ref WireReader reader)
    {
        var inner = new WireReader(reader.Bytes(Field(ref reader, FieldsTag, MaxFieldsBytes, nameof(Fields))));
        var fields = new Dictionary<string, string>(StringComparer.Ordinal);
        while (inner.Remaining > 0)
        {
            var name = Encoding.UTF8.GetString(inner.Bytes(inner.Count(MaxTextBytes, "the name of a field")));
            // Wrong order, repeated names and bytes that are not UTF-8 fail the canonical comparison.
            fields[name] = Encoding.UTF8.GetString(inner.Bytes(inner.Count(MaxTextBytes, "the value of a field")));
        }

        return fields;
    }

    private sealed record Identity(byte[] Encoded, NamespaceId Id);
}
