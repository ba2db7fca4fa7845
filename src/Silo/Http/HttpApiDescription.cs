using System.Globalization;
using System.Text.Json.Nodes;
using KvCache.Caching;
using KvCache.Engine.Wire;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace KvCache.Silo.Http;

/// <summary>
/// What the OpenAPI document says beyond what the endpoints say themselves: bytes, headers, bounds, defaults and words. It is of version
/// 3.0, which more generators of clients read than 3.1.
/// </summary>
internal static class HttpApiDescription
{
    private const string Scheme = "tenantSecret", Octets = "application/octet-stream", Tag = "v1";

    public static void Configure(OpenApiOptions options)
    {
        options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_0;
        options.ShouldInclude = description => description.RelativePath?.StartsWith("v1/", StringComparison.Ordinal) == true;
        options.AddDocumentTransformer(DescribeApi);
    }

    /// <summary>The body of a put, which no parameter of its handler shows.</summary>
    public static Task DescribePut(
        OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        operation.RequestBody = new OpenApiRequestBody
        {
            Required = true,
            Description = "All layers of one block, of exactly its layout's size.",
            Content = new Dictionary<string, OpenApiMediaType> { [Octets] = new() { Schema = Binary } },
        };
        operation.Parameters ??= [];
        operation.Parameters.Add(new OpenApiParameter
        {
            Name = BlockEndpoints.ChecksumsHeader,
            In = ParameterLocation.Header,
            Description = "CRC-32 of every layer, in hexadecimal and with commas; the bytes are compared with them.",
            Schema = new OpenApiSchema { Type = JsonSchemaType.String },
        });
        AddHeader(operation, "507", BlockEndpoints.AlternativesHeader, "Addresses of a silo with more room, with commas.");
        return Task.CompletedTask;
    }

    /// <summary>The bytes and headers of a get.</summary>
    public static Task DescribeGet(
        OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        if (operation.Responses?["200"] is OpenApiResponse response)
            response.Content = new Dictionary<string, OpenApiMediaType> { [Octets] = new() { Schema = Binary } };
        AddHeader(operation, "200", BlockEndpoints.GenerationHeader, "Which write of the block the bytes are, in hexadecimal.");
        AddHeader(operation, "200", BlockEndpoints.LayersHeader, "The run of layers, first-last/of.");
        AddHeader(operation, "200", BlockEndpoints.ChecksumsHeader, "CRC-32 of every layer, in hexadecimal and with commas.");
        AddHeader(operation, "200", "Expires", "End of the block's life; without it, as long as memory lasts.");
        return Task.CompletedTask;
    }

    /// <summary>The headers of a head.</summary>
    public static Task DescribeHead(
        OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        AddHeader(operation, "200", BlockEndpoints.TiersHeader, "Where the block is, with commas: memory or disk, cluster, redis.");
        AddHeader(operation, "200", "Content-Length", "Bytes of a block.");
        return Task.CompletedTask;
    }

    private static OpenApiSchema Binary => new() { Type = JsonSchemaType.String, Format = "binary" };

    private static void AddHeader(OpenApiOperation operation, string status, string name, string description)
    {
        if (operation.Responses?[status] is not OpenApiResponse response)
            return;
        response.Headers ??= new Dictionary<string, IOpenApiHeader>();
        response.Headers[name] = new OpenApiHeader
        {
            Description = description,
            Schema = new OpenApiSchema { Type = JsonSchemaType.String },
        };
    }

    private static void DescribeParameters(OpenApiDocument document)
    {
        var operations = document.Paths.Values.SelectMany(path => path.Operations?.Values ?? Enumerable.Empty<OpenApiOperation>());
        foreach (var parameter in operations.SelectMany(operation => operation.Parameters ?? []).OfType<OpenApiParameter>())
        {
            switch (parameter.Name)
            {
                case "ns":
                    parameter.Description ??= "Id of a registered namespace, 32 hexadecimal digits, or its encoding in base64url.";
                    break;
                case "hash":
                    parameter.Description ??= "Hash of the block.";
                    break;
                case "end" or "kind":
                    parameter.Schema = WordsOf(parameter.Name, document);
                    break;
            }

            if (parameter is { Name: { } name, Schema: OpenApiSchema schema })
                Bound(name, schema);
        }
    }

    // Of parameters and of properties, which have the same names where they mean the same.
    private static void Bound(string name, OpenApiSchema schema)
    {
        switch (name)
        {
            case "first" or "depth":
                (schema.Minimum, schema.Default) = ("0", 0);
                break;
            case "layers":
                schema.Minimum = "1";
                break;
            case "copies":
                (schema.Minimum, schema.Maximum, schema.Default) = ("1", Text(WireProtocol.MaxCopies), 1);
                break;
            case "persisted" or "replace":
                schema.Default = false;
                break;
            case "priority":
                (schema.Minimum, schema.Maximum) = ("0", "100");
                break;
            case "hash" or "parent":
                schema.Pattern = $"^[0-9a-fA-F]{{{BlockHash.Size * 2}}}$";
                break;
        }
    }

    private static Task DescribeApi(
        OpenApiDocument document, OpenApiDocumentTransformerContext context, CancellationToken cancellationToken)
    {
        document.Info = new OpenApiInfo
        {
            Title = "KvCache",
            Version = "v1",
            Description = "Stores and finds the key/value tensors of prompt prefixes. docs/http.md is the guide.",
            License = new OpenApiLicense { Name = "MIT", Url = new Uri("https://opensource.org/license/mit") },
        };
        document.Tags = new HashSet<OpenApiTag> { new() { Name = Tag, Description = "Blocks, prompts and namespaces of one tenant." } };
        foreach (var server in document.Servers ?? [])
            server.Url = server.Url?.TrimEnd('/');
        document.Components ??= new OpenApiComponents();
        document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>();
        document.Components.SecuritySchemes[Scheme] = new OpenApiSecurityScheme
        {
            Type = SecuritySchemeType.Http,
            Scheme = "bearer",
            Description = "The tenant's secret. Not needed on a silo without tenants that listens on loopback only.",
        };
        document.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(Scheme, document)] = [] }];
        DescribeSchemas(document);
        DescribeParameters(document);
        return Task.CompletedTask;
    }

    private static void DescribeSchemas(OpenApiDocument document)
    {
        var schemas = document.Components!.Schemas ??= new Dictionary<string, IOpenApiSchema>();
        foreach (var properties in schemas.Values.Select(schema => schema.Properties).OfType<IDictionary<string, IOpenApiSchema>>())
        {
            // What may be left out is not null beside that: generators make a type of its own of it.
            foreach (var (name, property) in properties.ToArray())
            {
                if (property.OneOf is { Count: 2 } either && either.SingleOrDefault(type => type.Type != JsonSchemaType.Null) is { } type)
                    properties[name] = type;
            }
        }

        schemas["HintEnd"] = new OpenApiSchema { Type = JsonSchemaType.String, Enum = Words(HintNames.Ends.Keys) };
        schemas["HintKind"] = new OpenApiSchema { Type = JsonSchemaType.String, Enum = Words(HintNames.Kinds.Keys) };
        if (schemas.TryGetValue("HintBody", out var hint) && hint.Properties is { } hints)
        {
            (hints["end"], hints["kind"]) = (WordsOf("end", document), WordsOf("kind", document));
            if (hints["priority"] is OpenApiSchema priority)
                Bound("priority", priority);
        }

        if (Property("PutBlockReply", "outcome") is { } outcome)
            outcome.Enum = Words([nameof(PutOutcome.Stored), nameof(PutOutcome.AlreadyStored)]);
        if (Property("LayoutFields", "dataType") is { } dataType)
            dataType.Enum = Words(Enum.GetNames<KvDataType>());

        OpenApiSchema? Property(string schema, string name) =>
            schemas.TryGetValue(schema, out var found) && found.Properties?.TryGetValue(name, out var property) == true
                ? property as OpenApiSchema
                : null;
    }

    private static OpenApiSchemaReference WordsOf(string name, OpenApiDocument document) =>
        new(name == "end" ? "HintEnd" : "HintKind", document);

    private static List<JsonNode> Words(IEnumerable<string> words) => [.. words.Select(word => JsonValue.Create(word)!)];

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
