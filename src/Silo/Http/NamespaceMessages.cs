using System.Buffers.Text;
using System.ComponentModel;

namespace KvCache.Silo.Http;

/// <summary>A namespace, by its fields or by its encoding.</summary>
/// <remarks>Settable, as all requests are: the generated reader would overwrite the defaults of init-only properties.</remarks>
internal sealed record NamespaceRequest
{
    [Description("Canonical encoding (docs/hashing.md) in base64url; instead of all other fields.")]
    public string? Encoding { get; set; }

    [Description("Owner of the blocks; the tenant of the token when it is left out.")]
    public string? Tenant { get; set; }

    public string? Model { get; set; }

    [Description("Revision of the model's weights.")]
    [DefaultValue("")]
    public string Revision { get; set; } = "";

    [Description("LoRA adapter and its version; empty for the base model.")]
    [DefaultValue("")]
    public string LoraAdapter { get; set; } = "";

    [DefaultValue(0)]
    public int TensorParallelRank { get; set; }

    [DefaultValue(1)]
    public int TensorParallelSize { get; set; } = 1;

    [Description("Separates callers of one tenant who must not share prefixes.")]
    [DefaultValue("")]
    public string Salt { get; set; } = "";

    public LayoutFields? Layout { get; set; }

    [Description("The engine's own name of how numbers are encoded, where the layout's type does not say it; for example fp8_e4m3.")]
    [DefaultValue("")]
    public string NumberFormat { get; set; } = "";

    [Description("Whatever else changes the meaning of the bytes, by name; at most 64 entries.")]
    public Dictionary<string, string> Fields { get; set; } = [];

    /// <exception cref="HttpProblemException">A field is missing or out of its bounds.</exception>
    public CacheNamespace ToNamespace(string tenant)
    {
        if (Encoding is not null)
            return NamespaceTable.Decode(Encoding);
        if (Model is null || Layout is null)
            throw new HttpProblemException(
                HttpProblem.Invalid(
                "A namespace has a model and a layout; 'model' or 'layout' is missing. Send both, or 'encoding' alone."));
        try
        {
            var ns = new CacheNamespace
            {
                Tenant = Tenant ?? tenant,
                Model = Model,
                Revision = Revision ?? "", // a null is as if it was left out: generated clients send what is not set
                LoraAdapter = LoraAdapter ?? "",
                TensorParallelRank = TensorParallelRank,
                TensorParallelSize = TensorParallelSize,
                Salt = Salt ?? "",
                Layout = Layout.ToLayout(),
                NumberFormat = NumberFormat ?? "",
                Fields = Fields ?? [],
            };
            _ = ns.Id; // checks the fields
            return ns;
        }
        catch (ArgumentException e)
        {
            throw new HttpProblemException(HttpProblem.Invalid($"The namespace is not valid: {e.Message.Split('\n')[0]}"));
        }
    }
}

/// <summary>Shape of a block: heads, dimension and type, or the sizes of its layers.</summary>
internal sealed record LayoutFields
{
    [DefaultValue(256)]
    public int TokensPerBlock { get; set; } = 256;

    public int Layers { get; set; }

    [Description("Key/value heads of this rank; 0 for an opaque layout.")]
    public int KvHeads { get; set; }

    [Description("Elements of a head; 0 for an opaque layout.")]
    public int HeadDim { get; set; }

    [Description("2 for K and V, 1 for an MLA latent.")]
    [DefaultValue(2)]
    public int Parts { get; set; } = 2;

    [Description("Float32, Float16, BFloat16, Float8E4M3, Float8E5M2 or UInt8.")]
    public string? DataType { get; set; }

    [Description("Bytes of every layer, for a layout that is the engine's own; instead of layers, heads, dimension, parts and type.")]
    public int[]? LayerBytes { get; set; }

    public static LayoutFields Of(KvLayout layout) => layout.IsOpaque
        ? new LayoutFields
        {
            TokensPerBlock = layout.TokensPerBlock,
            Layers = layout.Layers,
            Parts = 0,
            LayerBytes = [.. Enumerable.Range(0, layout.Layers).Select(layout.LayerBytes)]
        }
        : new LayoutFields
        {
            TokensPerBlock = layout.TokensPerBlock,
            Layers = layout.Layers,
            KvHeads = layout.KvHeads,
            HeadDim = layout.HeadDim,
            Parts = layout.Parts,
            DataType = layout.DataType.ToString()
        };

    /// <exception cref="ArgumentException">A field is missing or out of its bounds.</exception>
    public KvLayout ToLayout()
    {
        if (LayerBytes is null)
        {
            return Enum.TryParse<KvDataType>(DataType, ignoreCase: true, out var type) && Enum.IsDefined(type)
                ? KvLayout.Create(Layers, KvHeads, HeadDim, type, TokensPerBlock, Parts)
                : throw new ArgumentException(
                    $"The data type is '{HttpProblem.Shorten(DataType ?? "")}'; one of {string.Join(", ", Enum.GetNames<KvDataType>())} "
                    + "was expected, or 'layerBytes' for an opaque layout.");
        }

        var offsets = new int[Math.Min(LayerBytes.Length, KvLayout.MaxLayers + 1) + 1];
        var end = 0L;
        for (var i = 1; i < offsets.Length; i++)
            offsets[i] = (int)Math.Clamp(end += LayerBytes[i - 1], int.MinValue, int.MaxValue);
        return KvLayout.Opaque(offsets, TokensPerBlock);
    }
}

/// <summary>A registered namespace.</summary>
internal sealed record NamespaceReply(
    [property: Description("16 bytes in hexadecimal, for the paths of blocks.")] string Id,
    [property: Description("Canonical encoding in base64url; stands for the id on every silo, registered or not.")] string Encoding,
    string Tenant,
    string Model,
    string Revision,
    string LoraAdapter,
    int TensorParallelRank,
    int TensorParallelSize,
    LayoutFields Layout,
    string NumberFormat,
    IReadOnlyDictionary<string, string> Fields,
    [property: Description("Bytes of a block.")] int BlockBytes)
{
    // Without the salt, which may be a secret of the caller.
    public static NamespaceReply Of(CacheNamespace ns) => new(
        ns.Id.ToString(),
        Base64Url.EncodeToString(ns.Encoded),
        ns.Tenant,
        ns.Model,
        ns.Revision,
        ns.LoraAdapter,
        ns.TensorParallelRank,
        ns.TensorParallelSize,
        LayoutFields.Of(ns.Layout),
        ns.NumberFormat,
        ns.Fields,
        ns.Layout.BlockBytes);
}
