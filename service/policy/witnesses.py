"""Sample actions of every AWS service, and sample ARNs: what a pattern covers is told by those it fits."""

import re
from typing import Final

from service.policy.wildcards import fits_all

# Prefixes of the service authorization reference. A missing one costs precision of BROAD_SHARE, no more.
_SERVICES: Final = (
    "access-analyzer account acm acm-pca airflow amplify apigateway app-integrations appconfig appflow "
    "application-autoscaling applicationinsights appmesh apprunner appstream appsync aps arc-zonal-shift "
    "artifact athena auditmanager autoscaling aws-marketplace aws-portal backup batch bedrock billing braket "
    "budgets cassandra ce chatbot chime cloud9 cloudformation cloudfront cloudhsm cloudsearch cloudshell "
    "cloudtrail cloudwatch codeartifact codebuild codecommit codedeploy codepipeline codestar "
    "cognito-identity cognito-idp cognito-sync comprehend compute-optimizer config connect controltower cur "
    "databrew dataexchange datapipeline datasync datazone dax detective devicefarm directconnect discovery "
    "dlm dms docdb-elastic drs ds dynamodb ebs ec2 ec2-instance-connect ec2messages ecr ecr-public ecs eks "
    "elasticache elasticbeanstalk elasticfilesystem elasticloadbalancing elasticmapreduce elastictranscoder "
    "emr-containers emr-serverless es events evidently execute-api finspace firehose fis fms forecast "
    "frauddetector fsx gamelift geo glacier globalaccelerator glue grafana greengrass groundstation "
    "guardduty health healthlake iam identitystore imagebuilder inspector inspector2 internetmonitor iot "
    "iotanalytics iotevents iotsitewise ivs kafka kafka-cluster kafkaconnect kendra kinesis kinesisanalytics "
    "kinesisvideo kms lakeformation lambda lex license-manager lightsail logs lookoutmetrics m2 "
    "machinelearning macie2 managedblockchain mediaconvert medialive mediapackage memorydb mgn "
    "mobiletargeting mq neptune-db network-firewall networkmanager oam organizations outposts payments "
    "personalize pi pipes polly pricing profile proton qldb quicksight ram rds rds-data rds-db redshift "
    "redshift-data redshift-serverless rekognition resiliencehub resource-explorer-2 resource-groups "
    "rolesanywhere route53 route53domains route53resolver rum s3 s3-object-lambda s3-outposts sagemaker "
    "savingsplans scheduler schemas sdb secretsmanager securityhub securitylake serverlessrepo "
    "servicecatalog servicediscovery servicequotas ses shield signer signin sms-voice snow-device-management "
    "snowball sns sqs ssm ssm-incidents ssmmessages sso sso-directory states storagegateway sts support swf "
    "synthetics tag textract timestream transcribe transfer translate trustedadvisor vpc-lattice waf "
    "waf-regional wafv2 wellarchitected wisdom workdocs workmail workspaces xray"
).split()
_VERBS: Final = "batchwrite create delete describe get list modify put start tag update".split()
# No pattern has a literal `*`, so none but a wildcard fits it: to deny invented names takes nothing away.
_ANYTHING: Final = "*******"
WITNESSES: Final = sorted(f"{service}:{verb}{_ANYTHING}" for service in _SERVICES for verb in _VERBS)
# A pattern of wildcards and colons tells two actions apart by how long their two parts are, if at all.
_OF_EACH_LENGTH: Final = tuple({tuple(map(len, action.split(":"))): action for action in WITNESSES}.values())


# Sample ARNs, by partition: with and without region and account, short and long.
# https://github.com/boto/botocore/blob/develop/botocore/data/partitions.json
PARTITIONS: Final = (
    "aws",
    "aws-cn",
    "aws-us-gov",
    "aws-iso",
    "aws-iso-b",
    "aws-iso-e",
    "aws-iso-f",
    "aws-eusc",
)
_ARNS: Final = tuple(
    tuple(
        f"arn:{partition}:{rest}"
        for rest in (
            "iam::210987654321:user/some-user",
            "s3:::some-bucket",
            "s3:::other-bucket/key",
            "ec2:eu-west-1:210987654321:instance/i-0abc",
            "lambda:us-east-2:345678901234:function:job",
            "sqs:ap-south-1:345678901234:queue",
        )
    )
    for partition in PARTITIONS
)


def every_action(pattern: str) -> bool:
    return set(pattern) <= set("*?:") and fits_all(pattern, _OF_EACH_LENGTH)


def every_resource(pattern: str) -> bool:
    """`*`, `arn:*`, `arn:aws:*`, and whatever else matches all the sample ARNs of a partition."""
    return any(fits_all(pattern, arns) for arns in _ARNS)


def every_role(pattern: str) -> bool:
    """Any role of one account, or of several, is any role: one of them is where the caller lives."""
    fields = pattern.split(":", 5)
    if len(fields) == 6 and re.fullmatch(r"[\d*?]+", fields[4], re.ASCII):
        pattern = ":".join((*fields[:4], "*", fields[5]))
    found = re.search(r"\d{12}", pattern)
    account = found[0] if found else "210987654321"
    roles = [f"iam::{account}:role/some-role", f"iam::{account}:role/with/path/other"]
    return any(fits_all(pattern, [f"arn:{partition}:{role}" for role in roles]) for partition in PARTITIONS)
