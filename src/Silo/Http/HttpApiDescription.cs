using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace KvCache.Silo.Http;

/// <summary>What the OpenAPI document says beyond what the endpoints say themselves.</summary>
internal static class HttpApiDescription
{
    private const string Scheme = "tenantSecret";

    public static void Configure(OpenApiOptions options)
    {
        options.ShouldInclude = description => description.RelativePath?.StartsWith("v1/", StringComparison.Ordinal) == true;
        options.AddDocumentTransformer(DescribeApi);
    }

    /// <summary>The body of a put, which no parameter of its handler shows.</summary>
    public static Task DescribeBody(
        OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        operation.RequestBody = new OpenApiRequestBody
        {
            Required = true,
            Description =
                $"All layers of one block, of exactly its layout's size. The header {BlockEndpoints.ChecksumsHeader} may carry the CRC-32 "
                + "of every layer.",
            Content = new Dictionary<string, OpenApiMediaType>
            {
                ["application/octet-stream"] =
                new() { Schema = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary" } }
            },
        };
        return Task.CompletedTask;
    }

    private static Task DescribeApi(
        OpenApiDocument document, OpenApiDocumentTransformerContext context, CancellationToken cancellationToken)
    {
        document.Info = new OpenApiInfo
        {
            Title = "KvCache",
            Version = "v1",
            Description = "Stores and finds the key/value tensors of prompt prefixes. docs/http.md is the guide.",
        };
        document.Components ??= new OpenApiComponents();
        document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>();
        document.Components.SecuritySchemes[Scheme] = new OpenApiSecurityScheme
        {
            Type = SecuritySchemeType.Http,
            Scheme = "bearer",
            Description = "The tenant's secret. Not needed on a silo without tenants that listens on loopback only.",
        };
        document.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(Scheme, document)] = [] }];
        return Task.CompletedTask;
    }
}
